package network

import (
	"net"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// inNamespace runs f on a thread that is in the namespace, with its thread ID.
func inNamespace(t *testing.T, fd int, f func(tid int)) {
	t.Helper()
	var err error
	onSpareThread(func() {
		if err = unix.Setns(fd, unix.CLONE_NEWNET); err == nil {
			f(unix.Gettid())
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestListening(t *testing.T) {
	n, _ := open(t)
	fd, _, err := n.Private("web")
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	var got []string
	var failed error
	inNamespace(t, fd, func(tid int) {
		l, err := net.Listen("tcp4", "127.0.0.1:8080") // works only with the loopback up
		if err != nil {
			failed = err
			return
		}
		defer l.Close()
		c, err := net.Dial("tcp4", "127.0.0.1:8080") // a connection is not listening
		if err != nil {
			failed = err
			return
		}
		defer c.Close()
		u, err := net.ListenPacket("udp4", "127.0.0.1:53")
		if err != nil {
			failed = err
			return
		}
		defer u.Close()
		if l6, err := net.Listen("tcp6", "[::1]:8081"); err == nil {
			defer l6.Close()
		}
		sockets, err := Listening(tid) // /proc/<tid> is that thread's
		failed = err
		for _, s := range sockets {
			got = append(got, s.String())
		}
	})
	if failed != nil {
		t.Fatal(failed)
	}
	want := []string{"tcp 127.0.0.1:8080", "udp 127.0.0.1:53"}
	if _, err := os.Stat("/proc/self/net/tcp6"); err == nil {
		want = slices.Insert(want, 1, "tcp [::1]:8081")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("sockets (-want +got):\n%s", diff)
	}
}

func TestParseSocketsRefuses(t *testing.T) {
	for _, line := range []string{"0: 0100007F 0:0 0A", "0: 0100:0050 0:0 0A", "0: zz:1 0:0 0A"} {
		if _, err := parseSockets(nil, "tcp", "heading\n"+line+"\n", stateListen); err == nil {
			t.Errorf("%q is taken", line)
		}
	}
}
