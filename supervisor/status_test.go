package supervisor

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nsinit/nsinit/isolate/launch"
	"github.com/nsinit/nsinit/supervisor/control"
	"github.com/nsinit/nsinit/supervisor/machine"
	"github.com/nsinit/nsinit/supervisor/poll"
	"github.com/nsinit/nsinit/unit"
)

// loaded is a manager that has read the given unit files, with a loop that runs
// what is posted to it and nothing else.
func loaded(t *testing.T, files map[string]string) *Manager {
	t.Helper()
	dir := t.TempDir()
	cfg := Config{Instance: "t", UnitPath: []string{filepath.Join(dir, "units")}, LogDir: filepath.Join(dir, "log"), RuntimeDir: dir, Lax: true}
	for _, d := range []string{cfg.UnitPath[0], cfg.LogDir} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range files {
		path := filepath.Join(cfg.UnitPath[0], name)
		if text == "masked" {
			if err := os.Symlink(os.DevNull, path); err != nil {
				t.Fatal(err)
			}
		} else if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	m := &Manager{cfg: cfg, launcher: &launch.Launcher{}, links: &connections{}, engine: machine.New(), services: map[string]*service{}, events: newBroadcaster()}
	var err error
	if m.poller, err = poll.New(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- m.poller.Run() }()
	t.Cleanup(func() {
		m.poller.Close()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	m.set = unit.LoadSet(cfg.UnitPath, unit.Options{Lax: true})
	m.loadedAt = time.Now()
	m.defs = map[string]*unit.Unit{}
	var configs []machine.Config
	for _, name := range m.set.Names() {
		u, err := m.set.Resolve(name)
		if err != nil {
			t.Fatal(err)
		}
		m.defs[name] = u
		configs = append(configs, machine.ConfigOf(u))
	}
	m.engine.Load(configs, now())
	return m
}

const sleeper = "[unit]\ndescription = 'it sleeps'\n[service]\nexec_start = '/bin/sleep 9'\n"

// What never ran has a status that contradicts itself nowhere.
func TestStatusOfWhatNeverRan(t *testing.T) {
	m := loaded(t, map[string]string{"web.toml": sleeper, "bad.toml": "[service]\nexec_startt = 'x'\n", "hidden.toml": "masked", "group.toml": "[unit]\nwants = ['web']\n"})
	for _, tt := range []struct {
		name, kind, load, active, enabled string
	}{
		{"web", "service", "loaded", "inactive", "static"},
		{"bad", "service", "bad-file", "inactive", ""},
		{"hidden", "service", "masked", "inactive", "masked"},
		{"group", "target", "loaded", "inactive", "static"},
		{"default", "target", "loaded", "inactive", "static"},
		{"nobody", "service", "not-found", "inactive", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			st := m.describe(context.Background(), m.look(tt.name))
			if st.Kind != tt.kind || st.LoadState != tt.load || st.ActiveState != tt.active || st.Enabled != tt.enabled {
				t.Errorf("got %s %s %s %q", st.Kind, st.LoadState, st.ActiveState, st.Enabled)
			}
			if st.Name != tt.name || st.Description == "" || st.SubState != "dead" {
				t.Errorf("name %q, description %q, sub state %q", st.Name, st.Description, st.SubState)
			}
			if (st.LoadError != "") != (tt.load == "bad-file") {
				t.Errorf("load error %q", st.LoadError)
			}
			if st.MainPID != 0 || st.Result != "" || st.StateSinceUsec != 0 || st.Failure != nil || st.LastExit != nil || st.Deadlines != nil ||
				st.ControlGroup != "" || st.ChangedOnDisk || st.Generation != 0 || st.Namespaces != nil {
				t.Errorf("it never ran, and yet: %+v", st)
			}
			if (st.Network != nil) != (tt.name == "web") || (st.Profile != "") != (tt.name == "web") {
				t.Errorf("network %v, profile %q", st.Network, st.Profile)
			}
		})
	}
}

func TestStatusOfFailure(t *testing.T) {
	m := loaded(t, map[string]string{"web.toml": sleeper})
	s := m.look("web")
	c := s.clock
	s.ran = m.defs["web"]
	s.snap.Machine = machine.Machine{State: machine.AutoRestart, Want: machine.WantUp, Why: machine.StopOwn, Result: machine.SignalFailure, Generation: 3, Restarts: 2,
		Kind: machine.KindStart, Ended: true, MainPID: 7, Last: machine.Status{Code: machine.CodeKilled, Value: 9}, MainStatus: machine.Status{Code: machine.CodeKilled, Value: 9},
		Since: c.boot - 1e9, StartedAt: c.boot - 3e9, ActiveSince: c.boot - 2e9, EndedAt: c.boot - 1e9, Deadline: c.boot + 5e9}
	st := m.describe(context.Background(), s)
	if st.ActiveState != "activating" || st.SubState != "auto-restart" || st.Result != "signal" || st.MainPID != 0 || st.StartCount != 3 || st.Restarts != 2 {
		t.Errorf("state: %+v", st)
	}
	if e := st.LastExit; e == nil || e.PID != 7 || e.Name != "SIGKILL" || e.Status != 9 || e.Code != "killed" {
		t.Errorf("last exit %+v", st.LastExit)
	}
	if f := st.Failure; f == nil || f.Program != "exec_start" || f.Text != "exec_start failed: /bin/sleep was killed by SIGKILL" {
		t.Errorf("failure %+v", st.Failure)
	}
	if !slices.Equal(st.Deadlines, []control.Deadline{{Name: "restart_sec", AtUsec: c.wall.Add(5 * time.Second).UnixMicro()}}) {
		t.Errorf("deadlines %v", st.Deadlines)
	}
	if st.ReadyNsec != 1e9 || st.StateSinceUsec != c.wall.Add(-time.Second).UnixMicro() {
		t.Errorf("ready %d, since %d", st.ReadyNsec, st.StateSinceUsec)
	}
}

func TestChangedOnDisk(t *testing.T) {
	m := loaded(t, map[string]string{"web.toml": sleeper})
	dir := m.cfg.UnitPath[0]
	m.loadedAt = time.Now().Add(time.Second) // later than the clock of the file system can be
	if at := changedOnDisk(m.look("web"), m.cfg.UnitPath); at != 0 {
		t.Errorf("changed at %d, and nothing was", at)
	}
	m.loadedAt = time.Now().Add(-time.Second)
	if changedOnDisk(m.look("web"), m.cfg.UnitPath) == 0 {
		t.Error("a newer file is not noticed")
	}
	m.loadedAt = time.Now().Add(time.Second)
	os.Remove(filepath.Join(dir, "web.toml"))
	if changedOnDisk(m.look("web"), m.cfg.UnitPath) == 0 {
		t.Error("a removed file is not noticed")
	}
}

func TestEntries(t *testing.T) {
	m := loaded(t, map[string]string{"web.toml": sleeper, "bad.toml": "[service]\nexec_startt = 'x'\n"})
	if names := m.unitNames(); !slices.Contains(names, "bad") || !slices.Contains(names, "web") || !slices.IsSorted(names) {
		t.Errorf("names %v", names)
	}
	e := m.look("bad").entry()
	if e.LoadState != "bad-file" || !strings.Contains(e.Note, "bad.toml:2:1 unknown key exec_startt") {
		t.Errorf("entry %+v", e)
	}
	for _, tt := range []struct {
		q    control.ListQuery
		want bool
	}{
		{control.ListQuery{}, true}, {control.ListQuery{Patterns: []string{"b*"}}, true}, {control.ListQuery{Patterns: []string{"c*"}}, false},
		{control.ListQuery{States: []string{"failed", "bad-file"}}, true}, {control.ListQuery{States: []string{"failed"}}, false},
	} {
		if selected(e, tt.q) != tt.want {
			t.Errorf("selected by %+v: %v", tt.q, !tt.want)
		}
	}
	if got := []string{m.countedAs("bad"), m.countedAs("web"), m.countedAs("nobody")}; !slices.Equal(got, []string{"bad-file", "inactive", "not-found"}) {
		t.Errorf("counted as %v", got)
	}
}

func TestDependencyTree(t *testing.T) {
	m := loaded(t, map[string]string{"a.toml": "[unit]\nwants = ['b', 'c']\nafter = ['b']\n", "b.toml": "[unit]\nrequires = ['c']\n", "c.toml": "[unit]\nwants = ['a']\n"})
	t1 := tree{graph: m.engine.Graph(), relations: relations(false, false), seen: map[string]bool{}}
	d := t1.node("a", nil)
	if len(d.Children) != 2 || d.Children[0].Unit != "b" || !slices.Equal(d.Children[0].Kinds, []string{"wants"}) {
		t.Fatalf("tree %+v", d)
	}
	c := d.Children[0].Children[0]
	if c.Unit != "c" || len(c.Children) != 1 || !c.Children[0].Seen || c.Children[0].Children != nil {
		t.Errorf("below b: %+v", c)
	}
	if !d.Children[1].Seen {
		t.Error("c was shown twice in full")
	}
	t2 := tree{graph: m.engine.Graph(), relations: relations(true, false), seen: map[string]bool{}}
	if r := t2.node("c", nil); len(r.Children) != 2 || r.Children[0].Kinds[0] != "required_by" || r.Children[1].Kinds[0] != "wanted_by" {
		t.Errorf("reverse %+v", r)
	}
}

func TestParseStat(t *testing.T) {
	comm, ppid, err := parseStat("12 (a) b (c)) S 34 12 12 0")
	if comm != "a) b (c)" || ppid != 34 || err != nil {
		t.Errorf("got %q, %d, %v", comm, ppid, err)
	}
	for _, bad := range []string{"", "12", "12 (x", "12 (x) S", ") ("} {
		if _, _, err := parseStat(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestReadProcess(t *testing.T) {
	p, err := readProcess(os.Getpid())
	if err != nil || p.PPID != os.Getppid() || p.Name == "" || !strings.Contains(p.Command, "test") {
		t.Errorf("got %+v, %v", p, err)
	}
	for _, n := range namespacesOf(os.Getpid()) {
		if n.Private || n.Inode == 0 {
			t.Errorf("this process in a namespace that is not its own: %+v", n)
		}
	}
}

func TestInstanceWord(t *testing.T) {
	for _, tt := range []struct {
		stopping bool
		job      machine.Verb
		counts   map[string]int
		want     string
	}{{true, "", nil, "stopping"}, {false, machine.VerbStart, nil, "starting"}, {false, "", map[string]int{"failed": 1}, "degraded"}, {false, "", nil, "running"}} {
		if got := instanceWord(tt.stopping, false, machine.Snapshot{Job: tt.job}, tt.counts); got != tt.want {
			t.Errorf("got %s, want %s", got, tt.want)
		}
	}
}

func TestEnableDir(t *testing.T) {
	if d := enableDir([]string{"/run/x/units", "/etc/x/units", "/etc/y"}); d != "/etc/x/units" {
		t.Error(d)
	}
	if d := enableDir([]string{"/tmp/x"}); d != "/tmp/x" {
		t.Error(d)
	}
}
