package pidfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// tree makes a root in a directory, with something beside it to escape to.
func tree(t *testing.T) (root int, dir string) {
	t.Helper()
	base := t.TempDir()
	dir = filepath.Join(base, "root")
	for _, d := range []string{dir + "/run/app", base + "/run"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, base+"/run/out.pid", "77\n")
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd, dir
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestReadContents(t *testing.T) {
	root, dir := tree(t)
	for _, tt := range []struct {
		text string
		pid  int
		err  string
	}{
		{"12\n", 12, ""}, {"12", 12, ""}, {"        12\n", 12, ""}, {"12\nsecond line\n", 12, ""}, {"2147483647", 2147483647, ""},
		{"", 0, "/run/x.pid is empty"}, {"\n12\n", 0, "/run/x.pid is empty"},
		{"0\n", 0, "/run/x.pid names process 0, which is none"}, {"1\n", 0, "/run/x.pid names process 1, which is init and no service"},
		{"-5\n", 0, `/run/x.pid holds no process ID, but "-5"`}, {"+5\n", 0, `/run/x.pid holds no process ID, but "+5"`},
		{"0x10", 0, `/run/x.pid holds no process ID, but "0x10"`}, {"2147483648", 0, `/run/x.pid holds no process ID, but "2147483648"`},
		{"12 13\n", 0, `/run/x.pid holds no process ID, but "12 13"`}, {"\x1b[2J", 0, `/run/x.pid holds no process ID, but "\x1b[2J"`},
		{strings.Repeat("1", 100000), 0, `/run/x.pid holds no process ID, but "11111111111111111111"`},
	} {
		write(t, dir+"/run/x.pid", tt.text)
		f, err := Read(root, "/run/x.pid")
		if f.PID != tt.pid || (err == nil) != (tt.err == "") || err != nil && err.Error() != tt.err {
			t.Errorf("%.30q: %d, %v; want %d, %s", tt.text, f.PID, err, tt.pid, tt.err)
		}
	}
}

// Links lead to places in the root, as the service itself sees them.
func TestReadStaysInRoot(t *testing.T) {
	root, dir := tree(t)
	write(t, dir+"/run/app/in.pid", "12")
	if err := os.Symlink("/run", dir+"/var"); err != nil {
		t.Fatal(err)
	}
	for link, to := range map[string]string{"a": "/run/app/in.pid", "b": "../../../../run/app/in.pid", "c": "/proc/self/root/run/app/in.pid"} {
		if err := os.Symlink(to, filepath.Join(dir, "run", link)); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]int{"/var/app/in.pid": 12, "/run/a": 12, "/run/b": 12, "/../run/app/in.pid": 12} {
		if f, err := Read(root, name); err != nil || f.PID != want {
			t.Errorf("%s: %+v, %v", name, f, err)
		}
	}
	for link, to := range map[string]string{"up": "../../run/out.pid", "abs": filepath.Dir(dir) + "/run/out.pid"} {
		if err := os.Symlink(to, filepath.Join(dir, "run", link)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"/../run/out.pid", "/run/c", "/run/up", "/run/abs"} {
		if f, err := Read(root, name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %+v, %v", name, f, err)
		}
	}
}

// What is no regular file is not opened: a FIFO without a writer would wait.
func TestReadRefusesOtherKinds(t *testing.T) {
	root, dir := tree(t)
	if err := unix.Mkfifo(dir+"/run/fifo", 0o644); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"/run/fifo": "/run/fifo is a FIFO, not a regular file", "/run/app": "/run/app is a directory, not a regular file"} {
		if _, err := Read(root, name); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
}

func TestReadTellsOwnerAndChange(t *testing.T) {
	root, dir := tree(t)
	before := time.Now().Add(-time.Second)
	write(t, dir+"/run/x.pid", "12")
	if err := os.Chtimes(dir+"/run/x.pid", time.Unix(1, 0), time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	f, err := Read(root, "/run/x.pid")
	if err != nil || f.Changed.Before(before) || int(f.UID) != os.Getuid() {
		t.Errorf("%+v, %v", f, err)
	}
}

// told waits for an event, and takes all that there are.
func told(t *testing.T, events int, patience time.Duration) bool {
	t.Helper()
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(events), Events: unix.POLLIN}}, int(patience.Milliseconds()))
	if err != nil && err != unix.EINTR {
		t.Fatal(err)
	}
	unix.Read(events, make([]byte, 65536))
	return n > 0
}

// Every step on the way to the file has an event, one after the other.
func TestWatch(t *testing.T) {
	root, dir := tree(t)
	events, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(events)
	if err := os.Symlink("/srv", dir+"/opt"); err != nil {
		t.Fatal(err)
	}
	const name = "/opt/a/b/x.pid"
	steps := []func() error{
		func() error { return os.MkdirAll(dir+"/srv", 0o755) }, // where the link leads
		func() error { return os.Mkdir(dir+"/srv/a", 0o755) },
		func() error { return os.Mkdir(dir+"/srv/a/b", 0o755) },
		func() error { return os.WriteFile(dir+"/srv/a/b/x.pid", nil, 0o644) },
		func() error { return os.WriteFile(dir+"/srv/a/b/x.pid", []byte("12"), 0o644) },
		func() error { return os.WriteFile(dir+"/srv/a/b/y", []byte("13"), 0o644) },
		func() error { return os.Rename(dir+"/srv/a/b/y", dir+"/srv/a/b/x.pid") },
	}
	for i, step := range steps {
		if err := Watch(events, root, name); err != nil {
			t.Fatal(err)
		}
		told(t, events, 0)
		if err := step(); err != nil {
			t.Fatal(err)
		}
		if !told(t, events, 10*time.Second) {
			t.Fatalf("step %d has no event", i)
		}
	}
	if f, err := Read(root, name); err != nil || f.PID != 13 {
		t.Errorf("%+v, %v", f, err)
	}
}

func TestRemove(t *testing.T) {
	root, dir := tree(t)
	write(t, dir+"/run/app/x.pid", "12")
	if err := os.Symlink("../../run", dir+"/out"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"/run/app/x.pid", "/run/app/x.pid", "/none/x.pid", "/out/out.pid"} {
		if err := Remove(root, name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := os.Lstat(dir + "/run/app/x.pid"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
	if _, err := os.Stat(filepath.Dir(dir) + "/run/out.pid"); err != nil {
		t.Errorf("a file outside is gone: %v", err)
	}
}
