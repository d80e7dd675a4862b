package control

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func dialFrom(local, path string) (net.Conn, error) {
	return net.DialUnix("unix", &net.UnixAddr{Name: local, Net: "unix"}, &net.UnixAddr{Name: path, Net: "unix"})
}

func TestListenRefuses(t *testing.T) {
	for _, tt := range []struct {
		name string
		make func(path string) error
		want string
	}{
		{"regular file", func(p string) error { return os.WriteFile(p, []byte("precious"), 0o600) }, "regular file"},
		{"symlink to nothing", func(p string) error { return os.Symlink("/nonexistent", p) }, "symbolic link"},
		{"symlink to a socket", func(p string) error {
			l, err := net.Listen("unix", p+".other")
			if err == nil {
				l.(*net.UnixListener).SetUnlinkOnClose(false)
				l.Close()
				err = os.Symlink(p+".other", p)
			}
			return err
		}, "symbolic link"},
		{"directory", func(p string) error { return os.Mkdir(p, 0o755) }, "directory"},
		{"writable by others", func(p string) error { return os.Chmod(filepath.Dir(p), 0o777) }, "written by others"},
		{"lock is a symlink", func(p string) error { return os.Symlink("/tmp/x", p+".lock") }, "symbolic link"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(socketDir(t), "s")
			if err := tt.make(path); err != nil {
				t.Fatal(err)
			}
			before, _ := os.Lstat(path)
			l, err := Listen(path)
			if err == nil {
				l.Close()
				t.Fatal("was replaced")
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %q does not say %q", err, tt.want)
			}
			if after, _ := os.Lstat(path); before != nil && !os.SameFile(before, after) {
				t.Error("what was there is not there any more")
			}
		})
	}
}

func TestListenTakesOverStaleSocket(t *testing.T) {
	path := filepath.Join(socketDir(t), "s")
	for range 2 {
		l, err := Listen(path)
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Lstat(path)
		if err != nil || info.Mode() != os.ModeSocket|0o666 {
			t.Errorf("mode %v, %v", info.Mode(), err)
		}
		l.Close() // as a crash does: the name stays
		if _, err := os.Lstat(path); err != nil {
			t.Fatal(err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".sock-*")); left != nil {
		t.Errorf("left behind: %v", left)
	}
}

// Of two managers that start at once, exactly one gets the socket.
func TestListenTwoAtOnce(t *testing.T) {
	for range 20 {
		path := filepath.Join(socketDir(t), "s")
		var wg sync.WaitGroup
		var mu sync.Mutex
		var got []net.Listener
		for range 4 {
			wg.Go(func() {
				l, err := Listen(path)
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					got = append(got, l)
				} else if !errors.Is(err, ErrRunning) {
					t.Errorf("error is not ErrRunning: %v", err)
				}
			})
		}
		wg.Wait()
		if len(got) != 1 {
			t.Errorf("%d listen", len(got))
		}
		for _, l := range got {
			l.Close()
		}
	}
}

func TestListenLongPath(t *testing.T) {
	_, err := Listen("/" + strings.Repeat("x", 100) + "/control.sock")
	if err == nil || !strings.Contains(err.Error(), "shorter") {
		t.Errorf("error: %v", err)
	}
}
