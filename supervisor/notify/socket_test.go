package notify

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func listen(t *testing.T) (*Socket, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	s, err := Listen(path, 0o666)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, path
}

// client is a connected datagram socket, as a service would make one.
func client(t *testing.T, path string) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	return fd
}

func send(t *testing.T, fd int, text string, fds ...int) {
	t.Helper()
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	if err := unix.Sendmsg(fd, []byte(text), oob, nil, 0); err != nil {
		t.Fatal(err)
	}
}

// readable waits until the socket has a datagram.
func readable(t *testing.T, fd int) {
	t.Helper()
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10000)
		if err == unix.EINTR {
			continue
		}
		if n != 1 || err != nil {
			t.Fatalf("nothing to read in 10 s: %v", err)
		}
		return
	}
}

func openFDs(t *testing.T) int {
	t.Helper()
	dir, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(dir)
}

// settled waits until the closing goroutine has closed everything.
func settled(t *testing.T, s *Socket) {
	t.Helper()
	for range 1000 {
		if s.closer.Idle() {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatal("descriptors are not closed after a second")
}

func TestReceive(t *testing.T) {
	for _, tc := range []struct {
		name    string
		text    string
		fds     int
		dropped bool
		cause   string
	}{
		{name: "ready", text: "READY=1"},
		{name: "zero length", text: ""},
		{name: "4096 bytes", text: "READY=1\nX=" + strings.Repeat("x", 4096-10)},
		{name: "4097 bytes", text: "READY=1\nX=" + strings.Repeat("x", 4097-10), dropped: true, cause: "longer"},
		{name: "64 KiB", text: strings.Repeat("x", 64<<10), dropped: true, cause: "longer"},
		{name: "NUL inside", text: "READY=1\x00READY=1", dropped: true, cause: "NUL"},
		{name: "10000 lines", text: strings.Repeat("\n", 10000), dropped: true, cause: "longer"},
		{name: "1 descriptor", text: "READY=1", fds: 1},
		{name: "2 descriptors", text: "FDSTORE=1", fds: 2},
		{name: "253 descriptors", text: "READY=1", fds: 253},
		{name: "descriptors in a dropped datagram", text: strings.Repeat("x", 9000), fds: 253, dropped: true, cause: "longer"},
		{name: "barrier without descriptor", text: "BARRIER=1", dropped: true, cause: "0 descriptors"},
		{name: "barrier with 2", text: "BARRIER=1", fds: 2, dropped: true, cause: "2 descriptors"},
		{name: "barrier mixed", text: "READY=1\nBARRIER=1", fds: 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, path := listen(t)
			c := client(t, path)
			before := openFDs(t)
			fds := make([]int, tc.fds)
			for i := range fds {
				fds[i] = c
			}
			send(t, c, tc.text, fds...)
			r, err := s.Receive()
			r.Done()
			var drop *Dropped
			if errors.As(err, &drop) != tc.dropped || err != nil && !tc.dropped {
				t.Fatalf("error %v", err)
			}
			if tc.dropped && !strings.Contains(err.Error(), tc.cause) {
				t.Errorf("error %q does not say %q", err, tc.cause)
			}
			if _, err := s.Receive(); err != ErrAgain {
				t.Errorf("second Receive: %v", err)
			}
			settled(t, s)
			if n := openFDs(t); n != before {
				t.Errorf("%d descriptors open, %d before", n, before)
			}
			received, dropped := s.Counters()
			if received+dropped != 1 || dropped == 1 != tc.dropped {
				t.Errorf("counters %d, %d", received, dropped)
			}
		})
	}
}

func TestSender(t *testing.T) {
	s, path := listen(t)
	send(t, client(t, path), "READY=1")
	r, err := s.Receive()
	if err != nil {
		t.Fatal(err)
	}
	if want := (Sender{PID: os.Getpid(), UID: uint32(os.Getuid()), GID: uint32(os.Getgid())}); r.Sender != want {
		t.Errorf("sender %+v, want %+v", r.Sender, want)
	}
}

// A forged pid is handed on as it is: the socket, not the pid, tells whose it is.
func TestForgedSenderIsStillTheSocketsService(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("SKIP: only root can forge credentials")
	}
	s, path := listen(t)
	forged := unix.UnixCredentials(&unix.Ucred{Pid: 1})
	if err := unix.Sendmsg(client(t, path), []byte("READY=1"), forged, nil, 0); err != nil {
		t.Fatal(err)
	}
	r, err := s.Receive()
	if err != nil || !r.Message.Ready || r.Sender.PID != 1 {
		t.Errorf("got %+v, %v", r, err)
	}
}

// The barrier's descriptor closes in Done and not before.
func TestBarrier(t *testing.T) {
	s, path := listen(t)
	c := client(t, path)
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(p[0])
	send(t, c, "READY=1")
	send(t, c, "BARRIER=1", p[1])
	unix.Close(p[1])
	first, err := s.Receive()
	if err != nil || !first.Message.Ready {
		t.Fatalf("first: %+v, %v", first, err)
	}
	barrier, err := s.Receive()
	if err != nil || !barrier.Message.Barrier {
		t.Fatalf("barrier: %+v, %v", barrier, err)
	}
	first.Done()
	var b [1]byte
	if _, err := unix.Read(p[0], b[:]); err != unix.EAGAIN {
		t.Errorf("the barrier ended before Done: %v", err)
	}
	barrier.Done()
	barrier.Done()
	settled(t, s)
	if n, err := unix.Read(p[0], b[:]); n != 0 || err != nil {
		t.Errorf("the barrier did not end: %d, %v", n, err)
	}
}

// A descriptor whose close blocks (a socket that lingers with unsent data) holds up
// its own socket at most.
func TestUnclosableDescriptorsStopOnlyThisSocket(t *testing.T) {
	s, path := listen(t)
	c := client(t, path)
	hung := lingering(t)
	send(t, c, "READY=1", hung)
	unix.Close(hung) // in flight is the last reference
	fds := make([]int, 253)
	for i := range fds {
		fds[i] = c
	}
	began := time.Now()
	var err error
	for range 8 {
		if _, err = s.Receive(); err != nil {
			break
		}
		send(t, c, "READY=1", fds...)
	}
	if err != ErrStuck {
		t.Errorf("error %v, want ErrStuck", err)
	}
	if d := time.Since(began); d > lingerTime/2 {
		t.Errorf("Receive took %v", d)
	}
	for !s.closer.Idle() {
		time.Sleep(10 * time.Millisecond)
	}
	if _, err := s.Receive(); err != nil {
		t.Errorf("after the close came through: %v", err)
	}
}

const lingerTime = 2 * time.Second

// lingering is a TCP socket whose close blocks for lingerTime: its peer reads nothing.
func lingering(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Skipf("SKIP: no loopback network: %v", err)
	}
	t.Cleanup(func() { l.Close() })
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	to := &unix.SockaddrInet4{Port: l.Addr().(*net.TCPAddr).Port, Addr: [4]byte{127, 0, 0, 1}}
	if err := unix.Connect(fd, to); err != nil {
		t.Fatal(err)
	}
	linger := &unix.Linger{Onoff: 1, Linger: int32(lingerTime / time.Second)}
	if err := unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, linger); err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := unix.SendmsgN(fd, make([]byte, 64<<10), nil, nil, unix.MSG_DONTWAIT); err != nil {
			return fd
		}
	}
}

func TestAdoption(t *testing.T) {
	s, path := listen(t)
	fd, err := unix.Dup(s.FD())
	if err != nil {
		t.Fatal(err)
	}
	c := client(t, path)
	send(t, c, "STATUS=sent while no manager ran")
	s.Close()
	next, err := FromFD(fd)
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	if r, err := next.Receive(); err != nil || r.Message.Status != "sent while no manager ran" {
		t.Errorf("got %+v, %v", r, err)
	}
	pipe, w, _ := os.Pipe()
	defer pipe.Close()
	defer w.Close()
	if _, err := FromFD(int(pipe.Fd())); err == nil {
		t.Error("a pipe was adopted")
	}
}

func TestListenReplacesOnlySockets(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "notify")
	for range 2 {
		s, err := Listen(path, 0o622)
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
	}
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm() != 0o622 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	file := filepath.Join(dir, "file")
	os.WriteFile(file, []byte("x"), 0o600)
	if _, err := Listen(file, 0o666); err == nil {
		t.Error("a regular file was replaced")
	}
}

func TestListenLongPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("u", 200))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s, err := Listen(filepath.Join(dir, "notify"), 0o666)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
}

// A flood clogs its own socket only, and is read at full length.
func TestFlood(t *testing.T) {
	s, path := listen(t)
	c := client(t, path)
	const total = 20000
	sent := make(chan error, 1)
	go func() {
		for i := range total {
			if err := unix.Sendmsg(c, fmt.Appendf(nil, "STATUS=%d", i), nil, nil, 0); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	for n := 0; n < total; {
		r, err := s.Receive()
		if err == ErrAgain {
			readable(t, s.FD())
			continue
		}
		if err != nil || r.Message.Status != fmt.Sprint(n) {
			t.Fatalf("message %d: %+v, %v", n, r, err)
		}
		n++
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
}

// The sender is gone before its message is read: it counts all the same.
func TestSenderGone(t *testing.T) {
	s, path := listen(t)
	c, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Sendto(c, []byte("READY=1"), 0, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	unix.Close(c)
	if r, err := s.Receive(); err != nil || !r.Message.Ready {
		t.Errorf("got %+v, %v", r, err)
	}
}

func TestSystemdNotify(t *testing.T) {
	tool, err := exec.LookPath("systemd-notify")
	if err != nil {
		t.Skip("SKIP: systemd-notify is not installed")
	}
	s, path := listen(t)
	cmd := exec.Command(tool, "--ready", "--status=hello from systemd-notify", "--pid=self")
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+path)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var ready, barrier bool
	for !barrier {
		readable(t, s.FD())
		r, err := s.Receive()
		if err != nil {
			t.Fatal(err)
		}
		if r.Message.Ready {
			ready = r.Message.Status == "hello from systemd-notify" && r.Message.MainPID > 1
		}
		barrier = r.Message.Barrier
		r.Done()
	}
	if err := cmd.Wait(); err != nil || !ready {
		t.Errorf("systemd-notify: %v, ready %v", err, ready)
	}
}
