package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/nsinit/nsinit/unit"
)

// image is one that is being put together.
type image struct {
	options
	list     []entry
	tree     *tree
	copier   copier
	accounts *accounts
	kernel   *kernel
	hostname string
	units    []*unit.Unit
	modules  []module
}

func newImage(o options, list []entry) *image {
	im := &image{options: o, list: list, tree: newTree(), hostname: "appliance"}
	im.copier = copier{libraries: libraries{source: source(o.root)}, tree: im.tree, done: map[string]bool{}}
	im.accounts = newAccounts(im.copier.source)
	return im
}

// fill puts everything into the tree. What comes later wins: the list over the
// skeleton, and what units need is copied only where the list brought nothing.
func (im *image) fill() error {
	for _, step := range []func() error{im.openKernel, im.names, im.skeleton, im.own, im.entries, im.unitPrograms, im.unitModules, im.kernelModules} {
		if err := step(); err != nil {
			return err
		}
	}
	return im.accounts.write(im.tree)
}

func (im *image) openKernel() (err error) {
	if im.options.kernel != "" {
		im.kernel, err = openKernel(im.options.kernel)
	}
	return err
}

// names reads what all of the rest needs: host name, units, users and groups.
func (im *image) names() error {
	for _, e := range im.list {
		if e.word == "hostname" {
			im.hostname = e.args[0]
		}
	}
	for _, e := range im.list {
		if err := im.name(e); err != nil {
			return fmt.Errorf("%s: %s: %w", e.place, e.word, err)
		}
	}
	for _, u := range im.units {
		if err := im.nameOwners(u); err != nil {
			return fmt.Errorf("unit %s: %w", u.Name, err)
		}
	}
	for _, e := range im.list {
		if e.word == "password" {
			if err := im.accounts.password(e.args[0], e.args[1]); err != nil {
				return fmt.Errorf("%s: %s: %w", e.place, e.word, err)
			}
		}
	}
	return nil
}

func (im *image) name(e entry) error {
	switch e.word {
	case "units":
		units, err := loadUnits(e.here(e.args[0]), im.hostname)
		im.units = append(im.units, units...)
		return err
	case "user", "group":
		id := -1
		if len(e.args) > 1 && e.args[1] != "-" {
			n, err := strconv.ParseUint(e.args[1], 10, 31)
			if err != nil {
				return fmt.Errorf("%q is no id", e.args[1])
			}
			id = int(n)
		}
		if e.word == "group" {
			return im.accounts.group(e.args[0], id)
		}
		return im.accounts.user(e.args[0], id, e.arg(2, ""), e.arg(3, ""))
	}
	return nil
}

func (im *image) nameOwners(u *unit.Unit) error {
	users, groups := owners(u)
	for _, name := range users {
		if err := im.accounts.user(name, -1, "", ""); err != nil {
			return err
		}
	}
	for _, name := range groups {
		if err := im.accounts.group(name, -1); err != nil {
			return err
		}
	}
	return nil
}

// skeleton makes what every system has (hier(7)), with /bin, /sbin and /lib in
// /usr. The two device nodes are for the time before /dev is mounted: without
// them a Go program does not start.
func (im *image) skeleton() error {
	t := im.tree
	var errs []error
	for name, mode := range map[string]uint32{"/dev": 0o755, "/proc": 0o555, "/sys": 0o555, "/run": 0o755, "/tmp": 0o1777, "/root": 0o700,
		"/home": 0o755, "/mnt": 0o755, "/srv": 0o755, "/opt": 0o755, "/boot": 0o755, "/usr/bin": 0o755, "/usr/sbin": 0o755, "/usr/lib": 0o755, "/usr/lib64": 0o755,
		"/usr/local/bin": 0o755, "/usr/share": 0o755, "/var/lib": 0o755, "/var/log": 0o755, "/var/cache": 0o755, "/var/tmp": 0o1777, unitDirectory: 0o755} {
		errs = append(errs, t.dir(name, mode))
	}
	for name, target := range map[string]string{"/bin": "usr/bin", "/sbin": "usr/sbin", "/lib": "usr/lib", "/lib64": "usr/lib64",
		"/var/run": "../run", "/etc/os-release": "../usr/lib/os-release", "/etc/mtab": "../proc/self/mounts"} {
		errs = append(errs, t.link(name, target))
	}
	errs = append(errs,
		t.put("/dev/console", &node{mode: modeChar | 0o600, major: 5, minor: 1}),
		t.put("/dev/null", &node{mode: modeChar | 0o666, major: 1, minor: 3}))
	for name, text := range map[string]string{
		"/etc/hostname":       im.hostname + "\n",
		"/etc/hosts":          "127.0.0.1 localhost\n127.0.1.1 " + im.hostname + "\n::1 localhost\n",
		"/etc/nsswitch.conf":  "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nservices: files\nprotocols: files\n",
		"/etc/machine-id":     "", // the first boot's to fill (machine-id(5))
		"/etc/shells":         "/bin/sh\n",
		"/usr/lib/os-release": "NAME=nsinit\nID=nsinit\nPRETTY_NAME=\"nsinit appliance\"\n",
	} {
		errs = append(errs, t.text(name, text, 0o644))
	}
	return errors.Join(errs...)
}

// own puts nsinit and nsctl where the kernel and people look for them. An image
// of another init goes without.
func (im *image) own() error {
	if im.nsinit == "" {
		return nil
	}
	t := im.tree
	errs := []error{t.file("/usr/sbin/nsinit", im.nsinit, 0o755), t.file("/usr/bin/nsctl", im.nsctl, 0o755),
		t.link("/usr/sbin/init", "nsinit"), t.link("/init", "usr/sbin/nsinit")}
	for _, name := range []string{"poweroff", "reboot", "halt", "shutdown"} {
		errs = append(errs, t.link("/usr/sbin/"+name, "../bin/nsctl"))
	}
	return errors.Join(errs...)
}

func (im *image) entries() error {
	var problems []error
	for _, e := range im.list {
		if err := im.enter(e); err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", e.place, err))
		}
	}
	return errors.Join(problems...)
}

func (im *image) enter(e entry) error {
	switch e.word {
	case "units":
		return copyUnits(im.tree, e.here(e.args[0]))
	case "program":
		return each(e.args, im.copier.add)
	case "package":
		return each(e.args, im.addPackage)
	case "module":
		im.modules = append(im.modules, module{e.args[0], strings.Join(e.args[1:], " ")})
	case "busybox":
		return im.addBusybox(e.arg(0, "/usr/bin/busybox"))
	case "link":
		return im.tree.link(e.args[0], e.args[1])
	case "directory":
		return im.place(e, 1, 0o755, func(mode uint32) error { return im.tree.dir(e.args[0], mode) })
	case "file":
		return im.place(e, 2, 0o644, func(mode uint32) error { return im.addFile(e.args[0], e.here(e.args[1]), mode) })
	case "certificates":
		return im.copier.add("/etc/ssl/certs/ca-certificates.crt")
	}
	return nil
}

func each(args []string, do func(string) error) error {
	var errs []error
	for _, a := range args {
		errs = append(errs, do(a))
	}
	return errors.Join(errs...)
}

// place has make put a file or directory, whose mode, user and group are the
// arguments from number i on, and gives it its owner.
func (im *image) place(e entry, i int, otherwise uint32, make func(mode uint32) error) error {
	mode, err := e.mode(i, otherwise)
	if err != nil {
		return err
	}
	uid, err := im.accounts.uid(e.arg(i+1, "root"))
	if err != nil {
		return err
	}
	gid, err := im.accounts.gid(e.arg(i+2, "root"))
	if err != nil {
		return err
	}
	if err := make(mode); err != nil {
		return err
	}
	n := im.tree.get(e.args[0])
	n.uid, n.gid = uid, gid
	return nil
}

// addFile places a file of this machine; a program's needs are the source's.
func (im *image) addFile(name, from string, mode uint32) error {
	info, err := os.Stat(from)
	if err != nil {
		return fmt.Errorf("cannot copy to %s: %w", name, err)
	}
	if mode == 0o644 && info.Mode()&0o111 != 0 {
		mode = 0o755
	}
	return im.tree.file(name, from, mode)
}

// addBusybox copies busybox and makes a link for each command that it has and
// the image has not.
func (im *image) addBusybox(program string) error {
	if err := im.copier.add(program); err != nil {
		return err
	}
	out, err := exec.Command(im.copier.file(program), "--list-full").Output()
	if err != nil {
		return fmt.Errorf("cannot ask %s for its commands: %w", program, err)
	}
	for command := range strings.FieldsSeq(string(out)) {
		if name := "/" + command; im.tree.get(name) == nil && path.Base(name) != "init" {
			if err := im.tree.link(name, program); err != nil {
				return err
			}
		}
	}
	return nil
}

// unneeded are directories of packages that no program reads.
var unneeded = []string{"/usr/share/doc", "/usr/share/man", "/usr/share/info", "/usr/share/locale", "/usr/share/lintian", "/usr/share/bug",
	"/usr/lib/systemd", "/lib/systemd", "/etc/init.d", "/etc/logrotate.d", "/usr/share/bash-completion"}

// addPackage copies the files of a Debian package that is installed in the
// source. Packages that it depends on are not followed: its programs bring
// their libraries.
func (im *image) addPackage(name string) error {
	cmd := exec.Command("dpkg-query", "--admindir="+im.copier.file("/var/lib/dpkg"), "-L", name)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("cannot copy package %s: %w: %s", name, err, strings.TrimSpace(said.String()))
	}
	for file := range strings.Lines(string(out)) {
		file = strings.TrimSpace(file)
		skip := slices.ContainsFunc(unneeded, func(dir string) bool { return file == dir || strings.HasPrefix(file, dir+"/") })
		if skip || !path.IsAbs(file) || file == "/." { // "diverted by" lines are no paths
			continue
		}
		if err := im.copier.all(file); err != nil {
			return fmt.Errorf("package %s: %w", name, err)
		}
	}
	return nil
}

// unitPrograms copies the programs of units that the list did not bring.
func (im *image) unitPrograms() error {
	var problems []error
	for _, u := range im.units {
		for _, p := range programs(u) {
			if im.tree.get(p) != nil {
				continue
			}
			if err := im.copier.add(p); err != nil {
				problems = append(problems, fmt.Errorf("unit %s: %w", u.Name, err))
			}
		}
	}
	return errors.Join(problems...)
}

// unitModules takes the kernel modules for the networks of units: nothing in an
// image can load them by itself, modprobe(8) needs the index of an installed kernel.
func (im *image) unitModules() error {
	if im.kernel == nil {
		return nil
	}
	for _, u := range im.units {
		for _, name := range networkModules(u) {
			im.modules = append(im.modules, module{name: name})
		}
	}
	return nil
}

// moduleList is what process 1 reads: the path of a module and its options a
// line, in the order of loading.
const moduleList = "/etc/nsinit/modules"

func (im *image) kernelModules() error {
	if len(im.modules) == 0 {
		return nil
	}
	if im.kernel == nil {
		return fmt.Errorf("cannot take kernel modules: no -kernel was given")
	}
	list, err := im.kernel.order(im.modules)
	if err != nil {
		return err
	}
	var lines strings.Builder
	for _, m := range list {
		rel := im.kernel.modules[m.name]
		name := path.Join("/usr/lib/modules", im.kernel.version, rel)
		if err := im.tree.file(name, path.Join(im.kernel.dir, rel), 0o644); err != nil {
			return err
		}
		lines.WriteString(strings.TrimSpace(name+" "+m.options) + "\n")
	}
	return im.tree.text(moduleList, lines.String(), 0o644)
}
