package main

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nsinit/nsinit/network/filter"
)

// list writes a list and gives its entries.
func list(t *testing.T, text string) []entry {
	t.Helper()
	entries, errs := parseList(filepath.Join(t.TempDir(), "test.list"), text)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	return entries
}

// made makes an image of a list, with small files in place of nsinit and nsctl.
func made(t *testing.T, o options, text string) (*image, error) {
	t.Helper()
	stand := filepath.Join(t.TempDir(), "stand")
	write(t, stand, "#!")
	o.nsinit, o.nsctl = stand, stand
	if o.root == "" {
		o.root = "/"
	}
	im := newImage(o, list(t, text))
	return im, im.fill()
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestListErrors(t *testing.T) {
	for text, want := range map[string]string{
		"progam /bin/sh":         `x:1: unknown word "progam"; there are: busybox, certificates`,
		"\nfile /etc/motd":       "x:2: file: 1 arguments, want: file PATH SOURCE [MODE [USER [GROUP]]]",
		"program bin/sh":         "x:1: program: bin/sh is not an absolute path",
		"# nothing\nlink /a # b": "x:2: link: 1 arguments",
	} {
		_, errs := parseList("x", text)
		if err := errors.Join(errs...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

// TestErrorsNameFileAndReason: what is missing, and what for.
func TestErrorsNameFileAndReason(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "good/ok.toml"), "[service]\nexec_start = \"/usr/bin/no-such-program\"\n")
	write(t, filepath.Join(dir, "bad/web.toml"), "[service]\nexec_strat = \"/bin/true\"\n")
	write(t, filepath.Join(dir, "script"), "#!/no/such/interpreter\n")
	for text, want := range map[string]string{
		"program /no/such":                           "test.list:1: cannot copy /no (of /no/such): no such file or directory",
		"program " + dir + "/script":                 "a script: cannot copy",
		"units " + dir + "/good":                     "unit ok: cannot copy /usr/bin/no-such-program: no such file",
		"units " + dir + "/bad":                      "exec_strat",
		"units " + dir + "/none":                     "cannot read the units",
		"directory /srv 0999":                        `"0999" is no mode`,
		"directory /srv 0755 nobodyknows":            "the image has no user nobodyknows",
		"package no-such-package":                    "cannot copy package no-such-package",
		"module virtio":                              "no -kernel was given",
		"user a 5\nuser b 5":                         "its id 5 is a's",
		"file /etc /dev/null":                        "not a regular file",
		"link /etc/nsinit/units /elsewhere":          "cannot place /etc/nsinit/units: a directory is there",
		"file /etc/hostname/name " + dir + "/script": "is not a directory",
	} {
		if _, err := made(t, options{}, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

// TestReproducible: two builds from two directories are the same bytes.
func TestReproducible(t *testing.T) {
	for _, program := range []string{"sqfstar", "zstd"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%v: packaging/deps.sh squashfs-tools zstd", err)
		}
	}
	build := func() map[string][]byte {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "units/web.toml"), "[service]\nexec_start = \"/bin/sh -c true\"\nuser = \"web\"\ngroup = \"www\"\n")
		write(t, filepath.Join(dir, "image.list"), "hostname same\nunits units\nprogram /bin/ls\ndirectory /srv/web 0750 web www\n")
		write(t, filepath.Join(dir, "nsinit"), "#!")
		o := options{out: filepath.Join(dir, "out"), root: "/", nsinit: filepath.Join(dir, "nsinit"), nsctl: filepath.Join(dir, "nsinit"),
			compress: "zstd", squashfs: true, lists: []string{filepath.Join(dir, "image.list")}}
		if err := o.build(); err != nil {
			t.Fatal(err)
		}
		files := map[string][]byte{}
		for _, name := range []string{"initramfs.cpio.zst", "root.squashfs"} {
			b, err := os.ReadFile(filepath.Join(o.out, name))
			if err != nil {
				t.Fatal(err)
			}
			files[name] = b
		}
		left, _ := filepath.Glob(filepath.Join(o.out, ".*"))
		if len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
		return files
	}
	first := build()
	for name, b := range build() {
		if !bytes.Equal(b, first[name]) {
			t.Errorf("%s differs between two builds of the same", name)
		}
	}
}

// TestCpio has cpio(1) read what was written.
func TestCpio(t *testing.T) {
	if _, err := exec.LookPath("cpio"); err != nil {
		t.Skipf("%v: packaging/deps.sh cpio", err)
	}
	tr := newTree()
	for _, err := range []error{tr.text("/etc/motd", "hello\n", 0o640), tr.link("/bin", "usr/bin"), tr.dir("/usr/bin", 0o755),
		tr.text("/bin/x", "odd", 0o4755), tr.put("/dev/null", &node{mode: modeChar | 0o666, major: 1, minor: 3})} {
		if err != nil {
			t.Fatal(err)
		}
	}
	tr.nodes["/etc/motd"].uid, tr.nodes["/etc/motd"].gid = 12, 34
	var archive bytes.Buffer
	if err := tr.writeCpio(&archive, time.Unix(86400*365, 0)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("cpio", "-tvn", "--quiet")
	cmd.Stdin, cmd.Env = &archive, append(os.Environ(), "TZ=UTC", "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("cpio: %v\n%s", err, out)
	}
	for _, want := range []string{"-rw-r-----   1 12       34              6 Jan  1  1971 etc/motd", "bin -> usr/bin", "-rwsr-xr-x", "usr/bin/x", "crw-rw-rw-", "1,   3"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

// TestLoaderAgrees: what is copied for a program is what the loader itself says
// that it loads.
func TestLoaderAgrees(t *testing.T) {
	for _, program := range []string{"/bin/ls", "/usr/bin/apt-get"} {
		out, err := exec.Command("ldd", program).Output()
		if err != nil {
			t.Fatalf("ldd %s: %v", program, err)
		}
		im, err := made(t, options{}, "program "+program)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(out)) {
			i := slices.IndexFunc(strings.Fields(line), filepath.IsAbs)
			if i < 0 {
				continue // the vDSO
			}
			if lib := strings.Fields(line)[i]; im.tree.get(lib) == nil {
				t.Errorf("%s: %s is loaded and was not copied", program, lib)
			}
		}
	}
}

// TestSearchOrder: RUNPATH with $ORIGIN before the configuration, that before
// the defaults, and files for another machine passed over.
func TestSearchOrder(t *testing.T) {
	root := t.TempDir()
	libc := "/lib/x86_64-linux-gnu/libc.so.6"
	self, err := (source("/")).readObject(resolved(t, libc))
	if err != nil || self == nil {
		t.Skipf("no %s here: the order is tried with Debian's on amd64", libc)
	}
	body, err := os.ReadFile(libc)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(root, "etc/ld.so.conf"), "include ld.so.conf.d/*.conf\n# comment\n")
	write(t, filepath.Join(root, "etc/ld.so.conf.d/a.conf"), "/opt/conf\n")
	for _, dir := range []string{"opt/app/lib", "opt/conf", "usr/lib"} {
		write(t, filepath.Join(root, dir, "libx.so"), string(body))
	}
	l := &libraries{source: source(root)}
	o := &object{name: "/opt/app/bin/app", class: self.class, machine: self.machine, runpath: []string{"$ORIGIN/../lib"}}
	find := func(want string, wantConfig bool) {
		t.Helper()
		got, byConfig, err := l.find(o, "libx.so")
		if err != nil || got != want || byConfig != wantConfig {
			t.Errorf("%s, %v, %v; want %s, %v", got, byConfig, err, want, wantConfig)
		}
	}
	find("/opt/app/lib/libx.so", false)
	o.runpath = nil
	find("/opt/conf/libx.so", true)
	o.rpath = []string{"${ORIGIN}/../lib"}
	find("/opt/app/lib/libx.so", false)
	o.rpath, o.loader = nil, &object{name: "/opt/app/bin/first", rpath: []string{"/opt/app/lib"}}
	find("/opt/app/lib/libx.so", false)
	o.loader.runpath = []string{"/nowhere"} // then its RPATH does not count
	find("/opt/conf/libx.so", true)
	write(t, filepath.Join(root, "opt/conf/libx.so"), "no ELF file")
	find("/usr/lib/libx.so", false)
	o.machine = elf.EM_AARCH64
	if _, _, err := l.find(o, "libx.so"); err == nil || !strings.Contains(err.Error(), "/opt/app/bin/app needs libx.so, which is in none of /opt/conf:") {
		t.Errorf("a library for another machine: %v", err)
	}
}

func resolved(t *testing.T, name string) string {
	t.Helper()
	real, _, err := source("/").resolve(name)
	if err != nil {
		t.Skip(err)
	}
	return real
}

// TestModuleOrder: each after what it needs, options where they were given.
func TestModuleOrder(t *testing.T) {
	k := &kernel{version: "6.1", modules: map[string]string{}, builtin: map[string]bool{"ext4": true}}
	k.dir = t.TempDir()
	for name, depends := range map[string]string{"virtio-pci": "virtio,virtio_ring", "virtio_ring": "virtio", "virtio": "", "broken": "absent"} {
		k.modules[moduleName(name)] = name + ".ko"
		writeModule(t, filepath.Join(k.dir, name+".ko"), "license=GPL\x00depends="+depends+"\x00")
	}
	got, err := k.order([]module{{"virtio_pci", "force_legacy=1"}, {"ext4", ""}, {"virtio", ""}})
	want := []module{{"virtio", ""}, {"virtio_ring", ""}, {"virtio_pci", "force_legacy=1"}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	if _, err := k.order([]module{{"broken", ""}}); err == nil ||
		err.Error() != "cannot take kernel module absent, which broken needs: kernel 6.1 has no such module" {
		t.Error(err)
	}
}

// TestNetworkModules: units bring the modules of their links, and no others.
func TestNetworkModules(t *testing.T) {
	for text, want := range map[string][]string{
		"":                nil,
		"mode = \"host\"": nil,
		"mode = \"veth\"": append([]string{"bridge", "veth"}, filter.Modules...),
		"mode = \"vlan\"\nparent = \"e0\"\nvlan_id = 3":           {"8021q"},
		"[network.link.out]\nmode = \"macvlan\"\nparent = \"e0\"": {"macvlan"},
	} {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "u.toml"), "[service]\nexec_start = \"/bin/true\"\n[network]\n"+text+"\n")
		units, err := loadUnits(dir, "h")
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, u := range units { // built-in ones too
			got = append(got, networkModules(u)...)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

// writeModule has objcopy make an object file with a .modinfo.
func writeModule(t *testing.T, path, info string) {
	t.Helper()
	if _, err := exec.LookPath("objcopy"); err != nil {
		t.Skipf("%v: packaging/deps.sh binutils", err)
	}
	text := path + ".info"
	write(t, text, info)
	cmd := exec.Command("objcopy", "-I", "binary", "-O", "elf64-x86-64", "--rename-section", ".data=.modinfo", text, path)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("objcopy: %v\n%s", err, out)
	}
	os.Remove(text)
}

// TestAccounts: ids of the source stay, others hang on the name alone.
func TestAccounts(t *testing.T) {
	root := t.TempDir()
	write(t, filepath.Join(root, "etc/passwd"), "redis:x:107:114::/var/lib/redis:/usr/sbin/nologin\n")
	write(t, filepath.Join(root, "etc/group"), "data:x:114:\n")
	ids := func(names ...string) string {
		a := newAccounts(source(root))
		for _, n := range names {
			if err := a.user(n, -1, "", ""); err != nil {
				t.Fatal(err)
			}
		}
		return fmt.Sprint(a.users["redis"], a.users["web"])
	}
	if one, two := ids("redis", "web"), ids("zeta", "web", "alpha", "redis"); one != two || !strings.Contains(one, "redis 107 114 /var/lib/redis") {
		t.Errorf("%s with others in the image, %s without", two, one)
	}
}

func TestPasswords(t *testing.T) {
	a, tr := newAccounts(source(t.TempDir())), newTree()
	if err := a.user("web", -1, "", ""); err != nil {
		t.Fatal(err)
	}
	for _, bad := range [][2]string{{"web", "secret"}, {"web", "!"}, {"web", "$6$a:b$c"}, {"nobody2", "$6$salt$hash"}, {"0", "$6$salt$hash"}} {
		if err := a.password(bad[0], bad[1]); err == nil || strings.Contains(err.Error(), bad[1]) {
			t.Errorf("password %s %s: %v", bad[0], bad[1], err)
		}
	}
	if err := errors.Join(a.password("web", "$6$salt$hash"), a.write(tr)); err != nil {
		t.Fatal(err)
	}
	if got := string(tr.get("/etc/shadow").data); !strings.Contains(got, "\nweb:$6$salt$hash:::::::\n") || !strings.Contains(got, "root:!*:") {
		t.Errorf("%q", got)
	}
}

// TestMergedUsr: a source without the merged /usr becomes an image with it, and
// links that lead out of the source do not.
func TestMergedUsr(t *testing.T) {
	root := t.TempDir()
	write(t, filepath.Join(root, "bin/tool"), "text")
	write(t, filepath.Join(root, "usr/share/real"), "text")
	if err := os.Symlink("/../../../usr/share/real", filepath.Join(root, "bin/alias")); err != nil {
		t.Fatal(err)
	}
	im, err := made(t, options{root: root}, "program /bin/tool /bin/alias\n")
	if err != nil {
		t.Fatal(err)
	}
	for name, kind := range map[string]uint32{"/usr/bin/tool": modeFile, "/usr/bin/alias": modeLink, "/usr/share/real": modeFile, "/bin": modeLink} {
		if n := im.tree.nodes[name]; n == nil || n.kind() != kind {
			t.Errorf("%s is %+v, want kind %o", name, n, kind)
		}
	}
	if r, err := im.tree.get("/bin/alias").content(); err != nil {
		t.Error(err)
	} else if b, _ := io.ReadAll(r); string(b) != "text" {
		t.Errorf("the alias leads to %q", b)
	}
}
