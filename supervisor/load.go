package supervisor

import (
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/nsinit/nsinit/supervisor/boot"
	"github.com/nsinit/nsinit/supervisor/control"
	"github.com/nsinit/nsinit/supervisor/machine"
	"github.com/nsinit/nsinit/unit"
)

// Reload reads the unit files again, for SIGHUP; nsctl daemon-reload does the
// same and shows what was found. It returns at once.
func (m *Manager) Reload() {
	m.poller.Post(func() { m.reload() })
}

// reload takes new definitions in force for coming starts. What runs keeps the
// one that it was started with.
func (m *Manager) reload() []string {
	m.launcher.DropTemplates()
	problems, effects := m.load(m.cfg.readUnits())
	m.carryOut(effects)
	m.handle(machine.Tick{})
	m.releaseGone()
	var out []string
	for name, list := range m.set.Problems() {
		out = append(out, fmt.Sprintf("%s: %v", name, list))
	}
	for _, p := range problems {
		out = append(out, p.Text)
	}
	return out
}

// configFile is the instance's own configuration.
func (cfg Config) configFile() string { return filepath.Join(cfg.ConfigDir, "nsinit.toml") }

// reading is what the files of an instance say.
type reading struct {
	at         time.Time
	config     unit.InstanceConfig // nsinit.toml
	err        error               // what is wrong with it
	set        *unit.Set
	unprepared []error // what the machine could not be given before
}

// readUnits reads nsinit.toml and the unit files.
func (cfg Config) readUnits() reading {
	r := reading{at: time.Now()}
	r.config, r.err = unit.LoadConfig(cfg.configFile())
	r.set = unit.LoadSet(cfg.UnitPath, unit.Options{Config: r.config, Presets: unit.PresetPath(cfg.Instance),
		Vendor: unit.VendorPath(cfg.Instance), Lax: cfg.Lax})
	return r
}

// prepare gives a machine that boots what units count on, and reads them as soon
// as there is what they name: the machine's names and users.
func (cfg Config) prepare() (r reading) {
	read := sync.OnceFunc(func() { r = cfg.readUnits() })
	var unprepared []error
	if cfg.Boot && !cfg.StopOnly {
		unprepared = boot.Run("/", read)
	}
	read()
	r.unprepared = unprepared
	return r
}

// load hands the definitions of a reading to the engine.
func (m *Manager) load(r reading) ([]machine.Problem, []machine.Effect) {
	if r.err != nil {
		m.problem(r.err)
	} else if !reflect.DeepEqual(r.config.Bridges, m.links.bridges) {
		m.problem(fmt.Errorf("the bridges of %s have changed; they are in force once the manager is started again", m.cfg.configFile()))
	}
	m.pump.ForwardTo(r.config.SyslogSocket, r.config.JournalSocket)
	m.loadedAt, m.instance, m.set = r.at, r.config, r.set
	extra := m.defs
	m.defs = map[string]*unit.Unit{}
	clear(m.configs)
	for _, name := range m.set.Names() {
		if u, err := m.set.Resolve(name); err == nil {
			m.defs[u.Name] = u
		}
	}
	for name, u := range extra { // instances of templates that were asked for by name
		if u.Template == "" || m.defs[name] != nil {
			continue
		}
		if u, err := m.set.Resolve(name); err == nil {
			m.defs[name] = u
		}
	}
	for name, list := range m.set.Problems() {
		m.log.WithLevel(m.unlessTold(zerolog.ErrorLevel)).Str("unit", name).Msg(list.Error())
	}
	m.limitSlices()
	return m.install()
}

// install gives the engine the definitions.
func (m *Manager) install() ([]machine.Problem, []machine.Effect) {
	problems, effects := m.engine.Load(m.configsOf(m.defs), now())
	for _, p := range problems {
		m.log.WithLevel(m.unlessTold(zerolog.WarnLevel)).Strs("units", p.Units).Msg(p.Text)
	}
	return problems, effects
}

// config is machine.ConfigOf, remembered: a unit never changes, and its digest
// takes the whole of it through JSON.
func (m *Manager) config(u *unit.Unit) machine.Config {
	c, ok := m.configs[u]
	if !ok {
		c = machine.ConfigOf(u)
		m.configs[u] = c
	}
	return c
}

func (m *Manager) configsOf(defs map[string]*unit.Unit) []machine.Config {
	configs := make([]machine.Config, 0, len(defs))
	for _, u := range defs {
		configs = append(configs, m.config(u))
	}
	return configs
}

// resolve finds the unit that a person means, instantiating a template if need
// be. The error is a *control.Error.
func (m *Manager) resolve(name string) (string, error) {
	u, err := m.set.Resolve(name)
	if err == nil {
		if m.defs[u.Name] == nil {
			m.defs[u.Name] = u
			_, effects := m.install()
			m.carryOut(effects)
		}
		return u.Name, nil
	}
	bare := m.set.Canonical(name)
	if snap, known := m.engine.State(bare); known && !snap.State.Down() {
		return bare, nil // it runs, and its file is gone or bad
	}
	if list := m.set.Problems()[bare]; len(list) > 0 {
		message := "cannot load: " + list[0].Error()
		if len(list) > 1 {
			message += fmt.Sprintf(" (and %d more)", len(list)-1)
		}
		return "", &control.Error{Code: control.CodeBadUnit, Unit: bare, Message: message, Hint: "nsctl verify " + list[0].File + " shows everything that is wrong with it"}
	}
	if errors.Is(err, unit.ErrUnknown) {
		message := "no such unit in " + joinPaths(m.cfg.UnitPath)
		if _, near, ok := strings.Cut(err.Error(), "; "); ok {
			message += "; " + near
		}
		return "", &control.Error{Code: control.CodeNoSuchUnit, Unit: bare, Message: message, Hint: "after adding a file: nsctl daemon-reload"}
	}
	e := &control.Error{Code: control.CodeBadUnit, Unit: bare, Message: "cannot load: " + err.Error()}
	if m.set.Masked(bare) {
		e.Hint = "nsctl unmask " + bare
	}
	return "", e
}
