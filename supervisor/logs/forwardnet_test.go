package logs

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// syslogServer takes framed messages by TCP.
type syslogServer struct {
	t     *testing.T
	l     net.Listener
	lines chan string
}

func serve(t *testing.T, addr string) *syslogServer {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return &syslogServer{t: t, l: l, lines: make(chan string, 100_000)}
}

// accept serves one connection, and gives it.
func (s *syslogServer) accept() net.Conn {
	s.t.Helper()
	c, err := s.l.Accept()
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	go func() {
		r := bufio.NewReader(c)
		for {
			size, err := r.ReadString(' ')
			n, aerr := strconv.Atoi(strings.TrimSpace(size))
			if err != nil || aerr != nil {
				return
			}
			msg := make([]byte, n)
			if _, err := io.ReadFull(r, msg); err != nil {
				return
			}
			s.lines <- string(msg)
		}
	}()
	return c
}

func (s *syslogServer) next() string {
	s.t.Helper()
	select {
	case line := <-s.lines:
		return line
	case <-time.After(20 * time.Second):
		s.t.Fatal("nothing came")
	}
	return ""
}

func TestForwardTCP(t *testing.T) {
	s := serve(t, "127.0.0.1:0")
	f, _ := forwarding(t, "tcp:"+s.l.Addr().String())
	f.log.Main(77)
	f.log.Append(Record{Stream: Syslog, Priority: Warning, Ident: "c ron", PID: 5, Message: []byte("tick\nand tock"), Fields: []Field{{"MSGID", "ID47"}}})
	first := s.accept()
	if got := s.next(); !regexp.MustCompile(`^<28>1 20\S+Z \S+ c_ron 5 ID47 - tick\nand tock$`).MatchString(got) {
		t.Errorf("got %q", got)
	}
	// It goes, and is there again.
	first.Close()
	addr := s.l.Addr().String()
	s.l.Close()
	f.log.Notice(Info, "while it was away")
	for f.log.Status().Forwarding == "" {
		f.barrier()
	}
	s = serve(t, addr)
	s.accept()
	for got := s.next(); !strings.HasSuffix(got, "while it was away"); got = s.next() {
	}
	f.waitQuiet()
	if st := f.log.Status(); st.NotForwarded != 0 || st.Forwarding != "" {
		t.Errorf("%+v", st)
	}
}

// waitQuiet waits until nothing is out of reach.
func (f *fixture) waitQuiet() {
	f.t.Helper()
	for end := time.Now().Add(20 * time.Second); f.log.Status().Forwarding != ""; f.barrier() {
		if time.Now().After(end) {
			f.t.Fatalf("%+v", f.log.Status())
		}
	}
}

// A server that reads nothing, and is killed: what its kernel had taken is gone with
// it, and all from there on that was not counted as left out comes to the next.
func TestForwardTCPFlood(t *testing.T) {
	s := serve(t, "127.0.0.1:0")
	addr := s.l.Addr().String()
	f, _ := forwarding(t, "tcp:"+addr)
	const lines = 20000
	f.log.Notice(Info, "hello")
	c, err := s.l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	w := f.attach(Stdout)
	for i := range lines {
		f.write(w, fmt.Sprintf("%07d %0200d\n", i, 0))
	}
	f.drain()
	f.pumped(w)
	lost := f.log.Status().NotForwarded
	if lost == 0 || lost >= lines {
		t.Fatalf("%+v", f.log.Status())
	}
	c.(*net.TCPConn).SetLinger(0) // a reset, as of a process that is killed
	c.Close()
	s.accept()
	first, last := -1, -1
	for got := 0; first < 0 || got < lines-first-int(lost); got++ {
		fields := strings.Fields(s.next())
		n, err := strconv.Atoi(fields[len(fields)-2])
		if err != nil || n <= last {
			t.Fatalf("%q after %d", fields, last)
		}
		if last = n; first < 0 {
			first = n
		}
	}
	f.awaitNotice("records were not forwarded to tcp:")
}

func (f *fixture) awaitNotice(part string) {
	f.t.Helper()
	for r, err := range Read(deadline(f.t), f.cfg.Dir, Query{Follow: true, Streams: []Stream{Manager}}) {
		if err != nil {
			f.t.Fatal(err)
		}
		if strings.Contains(string(r.Message), part) {
			return
		}
	}
	f.t.Fatalf("no notice with %q", part)
}

// By UDP too, what is refused waits.
func TestForwardUDP(t *testing.T) {
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := c.LocalAddr().String()
	c.Close()
	f, _ := forwarding(t, "udp:"+addr)
	for i := range 3 {
		f.log.Notice(Info, "message %d", i)
	}
	for f.log.Status().Forwarding == "" {
		f.barrier()
	}
	if c, err = net.ListenPacket("udp", addr); err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetReadDeadline(time.Now().Add(20 * time.Second))
	buf := make([]byte, 64<<10)
	for i := 0; i < 3; {
		n, _, err := c.ReadFrom(buf)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(string(buf[:n]), fmt.Sprint("message ", i)) {
			i++
		}
	}
	if st := f.log.Status(); st.NotForwarded != 0 {
		t.Errorf("%+v", st)
	}
}

// A name that nobody knows is said, and holds up nobody.
func TestForwardUnknownName(t *testing.T) {
	f, _ := forwarding(t, "tcp:no-such-host.invalid:514")
	f.log.Notice(Info, "hello")
	for !strings.Contains(f.log.Status().Forwarding, "cannot find no-such-host.invalid") {
		f.barrier()
	}
}

// What waits for a server goes there when its unit has gone.
func TestForwardAfterRemove(t *testing.T) {
	s := serve(t, "127.0.0.1:0")
	addr := s.l.Addr().String()
	s.l.Close()
	f, _ := forwarding(t, "tcp:"+addr)
	f.log.Notice(Info, "last words")
	for f.log.Status().Forwarding == "" {
		f.barrier()
	}
	removed := make(chan struct{})
	f.log.Remove(func() { close(removed) })
	<-removed
	s = serve(t, addr)
	s.accept()
	if got := s.next(); !strings.HasSuffix(got, "last words") {
		t.Errorf("got %q", got)
	}
	left := make(chan int, 1)
	for n := 1; n > 0; n = <-left {
		f.pump.post(func() { left <- len(f.pump.targets) })
	}
}
