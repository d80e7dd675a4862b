package boot

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// systemd's own programs say what its formats mean. tree is made twice, given
// to them and to us, and must end the same.
func compare(t *testing.T, files map[string]string, prepare func(root string), oracle []string, ours func(root string) []error) {
	t.Helper()
	if _, err := exec.LookPath(oracle[0]); err != nil {
		t.Skip(oracle[0] + " is not installed")
	}
	if os.Geteuid() != 0 {
		t.Skip("not root: owners cannot be given")
	}
	var got [2]string
	for i := range got {
		root := t.TempDir()
		os.Chmod(root, 0o755)
		for name, text := range files {
			path := filepath.Join(root, name)
			os.MkdirAll(filepath.Dir(path), 0o755)
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if prepare != nil {
			prepare(root)
		}
		if i == 0 {
			out, err := exec.Command(oracle[0], append(oracle[1:], "--root="+root)...).CombinedOutput()
			if err != nil || len(out) > 0 {
				t.Logf("%s: %v\n%s", oracle[0], err, out)
			}
		} else {
			for _, err := range ours(root) {
				t.Log("ours:", err)
			}
		}
		got[i] = describeTree(t, root)
	}
	if got[0] != got[1] {
		t.Errorf("systemd makes\n%s\nwe make\n%s", got[0], got[1])
	}
}

// describeTree has a line for each file: type, mode, owner, path, content.
func describeTree(t *testing.T, root string) string {
	var b strings.Builder
	filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		name := strings.TrimPrefix(path, root)
		if err != nil || name == "/etc/.pwd.lock" || strings.HasSuffix(name, "-") {
			return err // systemd keeps passwd- and others as they were
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%06o %d:%d %s", st.Mode, st.Uid, st.Gid, name)
		switch {
		case d.Type() == fs.ModeSymlink:
			target, _ := os.Readlink(path)
			fmt.Fprintf(&b, " -> %s", target)
		case d.Type().IsRegular() && !strings.HasSuffix(name, ".conf"):
			text, _ := os.ReadFile(path)
			fmt.Fprintf(&b, " %q", text)
		case d.Type()&fs.ModeDevice != 0:
			fmt.Fprintf(&b, " %x", st.Rdev)
		}
		b.WriteByte('\n')
		return nil
	})
	return b.String()
}

const passwd = "root:x:0:0:root:/root:/bin/sh\nold:x:998:998::/:/bin/sh\n"

const group = "root:x:0:\nold:x:998:\nwheel:x:10:old\n"

func TestSysusersOracle(t *testing.T) {
	accounts := `# a comment
u www-data 33 "Web \"server\"" /var/www
u redis - "Redis Server" /var/lib/redis /usr/sbin/nologin
u postgres - "PostgreSQL administrator" /var/lib/postgresql /bin/bash
g nsinit -
g fixed 55 -
u games 5:60 - /usr/games
g games 60
u grouped 70:nsinit "In a group" - -
u paired -:wheel
m redis wheel
m newuser newgroup
u old 12
u root 0 - /root
g taken 998
u clash 998
`
	compare(t, map[string]string{"etc/passwd": passwd, "etc/group": group, "usr/lib/sysusers.d/a.conf": accounts, "etc/sysusers.d/b.conf": "u later -\n"},
		nil, []string{"systemd-sysusers"}, sysusers)
}

func TestSysusersOracleEmptyRoot(t *testing.T) {
	compare(t, map[string]string{"usr/lib/sysusers.d/a.conf": "g tty 5\nu root 0 \"Super\" /root\nu daemon 1\nu nobody 65534 - /nonexistent\n", "etc/x": ""},
		nil, []string{"systemd-sysusers"}, sysusers)
}

func TestSysusersOracleRange(t *testing.T) {
	compare(t, map[string]string{"etc/passwd": passwd, "etc/group": group, "usr/lib/sysusers.d/a.conf": "r - 500-502\nu a -\nu b -\nu c -\n"},
		nil, []string{"systemd-sysusers"}, sysusers)
}

func TestTmpfilesOracle(t *testing.T) {
	lines := `
d /run/postgresql 2775 daemon daemon - -
d /run/nginx 0755 root root
D /run/emptied 0700 daemon - - -
q /var/q
Q /srv/Q 0750
v /srv/v
e /var/existing 0711 daemon daemon
e /var/none 0711
f /run/file 0640 root daemon - hello\nworld\x21
f /run/kept 0600 - - - new content
f+ /run/truncated 0600 - - - new
w /run/written - - - - 42
w+ /run/appended - - - - \tmore
w /run/not-there - - - - 42
p /run/pipe 0620 daemon
c /run/null 0666 - - - 1:3
L /run/link - - - - ../target
L /run/oldlink - - - - /new
L+ /run/replaced - - - - /new
L+ /run/wasdir - - - - /new
L /run/shm - - - - /dev/shm
z /var/z* 0600 daemon daemon
Z /var/tree ~0755 daemon daemon
Z /var/tree2 0750 daemon
r /run/gone
R /run/gonedir
r! /fastboot
d /var/run/through 0700
d "/run/with space" 0700
d /run/%%percent 0700
d /deep/er/est 0700 1 1
d /run/nginx 0700 daemon daemon
z /run/keepmode :0700 :daemon daemon
d /run/keepdir :0700 :daemon daemon
x /var/tmp/systemd-private-*
d /run/dashmode - - - 10d -
f /run/64 - - - - aGk=
f~ /run/65 - - - - aGk=
`
	compare(t, map[string]string{"etc/passwd": "root:x:0:0::/:\ndaemon:x:1:1::/:\n", "etc/group": "root:x:0:\ndaemon:x:1:\n", "usr/lib/tmpfiles.d/a.conf": lines,
		"run/kept": "old", "run/truncated": "old long content", "run/written": "old long content", "run/appended": "old", "run/emptied/a/b": "x", "var/existing/x": "x",
		"var/z1": "x", "var/z2": "y", "var/tree/a/b": "x", "var/tree/c": "x", "var/tree2/a/b": "", "run/gone": "x", "run/gonedir/a/b": "x", "fastboot": "", "run/wasdir/x": "x",
		"run/keepmode": "x", "run/keepdir/x": "x", "usr/lib/tmpfiles.d/masked.conf": "d /run/masked\n", "etc/tmpfiles.d/masked.conf": ""},
		func(root string) {
			os.Symlink("/run", filepath.Join(root, "var/run"))
			os.Symlink("/old", filepath.Join(root, "run/oldlink"))
			os.Symlink("/old", filepath.Join(root, "run/replaced"))
			os.Chmod(filepath.Join(root, "var/tree/c"), 0o700)
		}, []string{"systemd-tmpfiles", "--create", "--remove", "--boot"}, tmpfiles)
}

// A user must not make root give a file away by a link, a second name or a move
// in a directory of theirs.
func TestTmpfilesFollowsNoForeignLink(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("not root: owners cannot be given")
	}
	root := t.TempDir()
	for name, text := range map[string]string{"etc/passwd": "root:x:0:0::/:\nmallory:x:1000:1000::/:\n", "etc/group": "root:x:0:\nmallory:x:1000:\n", "etc/shadow": "secret",
		"usr/lib/tmpfiles.d/a.conf": "d /home/m/dir 0777 mallory mallory\nz /home/m/dir/shadow 0666 mallory mallory\nf /home/m/file 0666 mallory mallory\nz /home/m/hard 0666 mallory\nw /home/m/file - - - - overwritten\nR /home/m/dir/shadow\n" +
			"w /home/m/hard - - - - overwritten\nz /home/m/moved/secret 0666 mallory\nZ /home/m/moved 0777 mallory\nf /home/m/rootlink/shadow 0666 mallory\n",
		"home/m/moved/secret": "secret"} {
		path := filepath.Join(root, name)
		os.MkdirAll(filepath.Dir(path), 0o755)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	home := filepath.Join(root, "home/m")
	os.MkdirAll(home, 0o755)
	os.Chown(home, 1000, 1000)
	shadow := filepath.Join(root, "etc/shadow")
	for link, target := range map[string]string{"dir": "/etc", "file": "/etc/shadow"} {
		os.Symlink(target, filepath.Join(home, link))
		os.Lchown(filepath.Join(home, link), 1000, 1000)
	}
	if err := os.Link(shadow, filepath.Join(home, "hard")); err != nil {
		t.Fatal(err)
	}
	os.Symlink("/etc", filepath.Join(home, "rootlink")) // root's own, but the user may have moved it there
	problems := tmpfiles(root)
	var secret unix.Stat_t
	unix.Stat(filepath.Join(home, "moved/secret"), &secret)
	if secret.Mode&0o777 != 0o600 || secret.Uid != 0 {
		t.Errorf("a file of root's that a user has moved: mode %o uid %d", secret.Mode, secret.Uid)
	}
	text, err := os.ReadFile(shadow)
	var st unix.Stat_t
	unix.Stat(shadow, &st)
	if err != nil || string(text) != "secret" || st.Mode&0o777 != 0o600 || st.Uid != 0 {
		t.Errorf("shadow: %q %v mode %o uid %d", text, err, st.Mode, st.Uid)
	}
	if len(problems) < 7 {
		t.Errorf("nothing is said of the links: %v", problems)
	}
}
