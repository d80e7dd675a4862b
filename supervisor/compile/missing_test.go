package compile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/isolate"
)

// A root with a link to a directory, one that leads out, and one into nothing.
func missingRoot(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for _, dir := range []string{"usr/lib/app", "opt", "srv"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{"lib": "usr/lib", "opt/out": "../../../../../../../etc", "opt/dangling": "/nowhere"} {
		if err := os.Symlink(target, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(root, "opt/file"), "x")
	if err := os.Chmod(filepath.Join(root, "opt"), 0o750); err != nil {
		t.Fatal(err)
	}
	return root
}

func TestMissingTargets(t *testing.T) {
	root := missingRoot(t)
	opt := func(path string, without string) isolate.Missing {
		m := isolate.Missing{Path: path, Dir: "/opt", Mode: 0o750, UID: uint32(os.Getuid()), GID: uint32(os.Getgid())}
		for _, e := range []isolate.DirEntry{{Name: "dangling", Link: "/nowhere"}, {Name: "file"}, {Name: "out", Link: "../../../../../../../etc"}} {
			if e.Name != without {
				m.Entries = append(m.Entries, e)
			}
		}
		return m
	}
	lib := isolate.Missing{Path: "/usr/lib/new/x", Dir: "/usr/lib", Mode: 0o755, UID: uint32(os.Getuid()), GID: uint32(os.Getgid()),
		Entries: []isolate.DirEntry{{Name: "app", Dir: true}}}
	source := isolate.Missing{Path: "/srv/new", Dir: "/srv", Mode: 0o750, UID: lib.UID, GID: lib.GID, Entries: opt("", "").Entries}
	for name, tt := range map[string]struct {
		keys string
		want []MissingTarget
	}{
		"there":           {`bind_paths = "/etc:/usr/lib/app"`, nil},
		"new":             {`bind_paths = "/etc:/opt/a/b"`, []MissingTarget{{"/opt/a/b", opt("/opt/a/b", "")}}},
		"tmpfs":           {`temporary_file_system = "/opt/a"`, []MissingTarget{{"/opt/a", opt("/opt/a", "")}}},
		"below a link":    {`bind_paths = "/etc:/lib/new/x"`, []MissingTarget{{"/lib/new/x", lib}}},
		"link to nothing": {`bind_paths = "/etc/passwd:/opt/dangling"`, []MissingTarget{{"/opt/dangling", opt("/opt/dangling", "dangling")}}},
		"below a file":    {`bind_paths = "/etc:/opt/file/x"`, nil},
		"below a tmpfs":   {`temporary_file_system = "/opt"` + "\n" + `bind_paths = "/etc:/opt/a"`, nil},
		"private":         {`bind_paths = ["/etc:/run/x/y", "/etc:/tmp/x"]`, nil},
		"left out":        {`bind_paths = "-/no/such:/opt/a"`, nil},
		"in a bind":       {`bind_read_only_paths = ["` + root + `/opt:/srv", "/etc:/srv/new"]`, []MissingTarget{{"/srv/new", source}}},
		"in own tmp":      {`bind_paths = ["/tmp:/srv", "/etc:/srv/new"]`, nil},
		"link in a bind":  {`bind_read_only_paths = ["` + root + `/opt:/srv", "/etc:/srv/out/new"]`, nil},
		"directory":       {`state_directory = "new"`, []MissingTarget{{"/var/lib/new", isolate.Missing{Path: "/var/lib/new", Dir: "/"}}}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := missingTargets(loadText(t, minimal+"[filesystem]\nroot_directory = '"+root+"'\n"+tt.keys+"\n"))
			if err != nil {
				t.Fatal(err)
			}
			if name == "directory" && len(got) == 1 { // what / is like is told by the others
				got[0].Missing = isolate.Missing{Path: got[0].Path, Dir: got[0].Dir}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// A root that belongs to the service leads the manager nowhere else, and makes
// it wait for nothing.
func TestMissingTargetsOfHostileRoot(t *testing.T) {
	root := missingRoot(t)
	if err := unix.Mkfifo(filepath.Join(root, "opt/fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	text := minimal + "[filesystem]\nroot_directory = '" + root + "'\nbind_paths = [\"/etc:/opt/out/new\", \"/etc:/opt/fifo/x\"]\n"
	got, err := missingTargets(loadText(t, text))
	if err != nil || len(got) != 1 || got[0].Dir != "/" && got[0].Dir != "/opt" {
		t.Errorf("%+v, %v", got, err)
	}
	for range maxEntries + 1 {
		if _, err := os.CreateTemp(filepath.Join(root, "opt"), "x"); err != nil {
			t.Fatal(err)
		}
	}
	_, err = Gather(loadText(t, minimal+"[filesystem]\nprivate_tmp = false\nbind_paths = '/etc:"+root+"/opt/new'\n"))
	if err == nil || !strings.Contains(err.Error(), "holds 1005 entries") {
		t.Errorf("a crowded directory: %v", err)
	}
}

// Rules below a missing path are spelled as it is.
func TestResolveMissing(t *testing.T) {
	facts := testFacts()
	facts.Missing = []MissingTarget{{"/lib/new", isolate.Missing{Path: "/usr/lib/new", Dir: "/usr/lib"}}}
	service, err := Start(loadText(t, minimal+"[filesystem]\nbind_paths = \"/srv:/lib/new\"\nread_only_paths = [\"/lib/new/x\", \"/lib/newer\"]\n"), isolate.OldestHost(), facts)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range service.Spec.Paths[:3] {
		got = append(got, r.Path)
	}
	if diff := cmp.Diff([]string{"/usr/lib/new", "/usr/lib/new/x", "/lib/newer"}, got); diff != "" || len(service.Spec.Missing) != 1 {
		t.Errorf("%s\n%+v", diff, service.Spec.Missing)
	}
}
