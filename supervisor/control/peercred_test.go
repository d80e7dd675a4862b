package control

import (
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

// A process that ends while its role is decided has none: its pid may mean
// another one by then.
func TestPeerEndsWhileRoleIsDecided(t *testing.T) {
	if path := os.Getenv("CONTROL_TEST_DIAL"); path != "" {
		dialRaw(t, path)
		io.Copy(io.Discard, os.Stdin)
		return
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socketDir(t) + "/s", Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestPeerEndsWhileRoleIsDecided$")
	cmd.Env = append(os.Environ(), "CONTROL_TEST_DIAL="+l.Addr().String())
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	conn, err := l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if !hasPeerPIDFD(t, conn) {
		stdin.Close()
		cmd.Wait()
		t.Skip("this kernel has no SO_PEERPIDFD (6.5)")
	}
	living, err := identify(conn, as(RoleAdmin))
	if err != nil || living.Role != RoleAdmin || living.PID != cmd.Process.Pid {
		t.Errorf("a living peer is %+v, %v", living, err)
	}
	ended, err := identify(conn, func(Peer) Role {
		stdin.Close()
		cmd.Wait()
		return RoleAdmin
	})
	if err != nil || ended.Role != RoleNone {
		t.Errorf("a peer that ended is %+v, %v", ended, err)
	}
}

func hasPeerPIDFD(t *testing.T, conn *net.UnixConn) bool {
	t.Helper()
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) {
		var pidfd int
		if pidfd, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PEERPIDFD); err == nil {
			unix.Close(pidfd)
		}
	})
	return !errors.Is(err, unix.ENOPROTOOPT)
}
