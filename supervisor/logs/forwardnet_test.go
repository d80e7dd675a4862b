package logs

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
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
	// It goes while nothing waits, which is no trouble, and is there again.
	f.pump.post(func() { f.pump.targets["tcp:"+s.l.Addr().String()].landed() })
	first.Close()
	f.waitClosed()
	if st := f.log.Status(); st.Forwarding != "" {
		t.Errorf("%+v", st)
	}
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

// waitClosed waits until no target is connected.
func (f *fixture) waitClosed() {
	open := make(chan int, 1)
	for n := 1; n > 0; n = <-open {
		f.pump.post(func() {
			n := 0
			for _, t := range f.pump.targets {
				if t.fd >= 0 {
					n++
				}
			}
			open <- n
		})
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

const insideVar = "NSINIT_LOGS_TEST_INSIDE"

// Debian's rsyslogd understands what is sent to it, by both protocols, and is
// killed and started again: in a network namespace of the test's own.
func TestForwardRsyslogd(t *testing.T) {
	tool, err := exec.LookPath("rsyslogd")
	if err != nil {
		t.Skip("rsyslogd is not installed: packaging/deps.sh rsyslog")
	}
	if os.Getenv(insideVar) == "" {
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestForwardRsyslogd$", "-test.v")
		cmd.Env = append(os.Environ(), insideVar+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	loopback(t)
	for _, kind := range []string{"udp", "tcp"} {
		t.Run(kind, func(t *testing.T) { forwardToRsyslogd(t, tool, kind) })
	}
}

// loopback brings lo up (netdevice(7)).
func loopback(t *testing.T) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		t.Fatal(err)
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		t.Fatal(err)
	}
}

func forwardToRsyslogd(t *testing.T, tool, kind string) {
	dir := t.TempDir()
	conf, out := filepath.Join(dir, "conf"), filepath.Join(dir, "out")
	os.WriteFile(conf, fmt.Appendf(nil, `module(load="im%s")
input(type="im%[1]s" port="10514" address="127.0.0.1" ruleset="r")
template(name="t" type="string" string="%%protocol-version%%|%%app-name%%|%%procid%%|%%syslogfacility-text%%.%%syslogseverity-text%%|%%msg%%\n")
ruleset(name="r") { action(type="omfile" file=%q template="t") }
`, kind, out), 0o644)
	f, _ := forwarding(t, kind+":127.0.0.1:10514")
	f.log.Main(77)
	f.log.Append(Record{Stream: Syslog, Priority: Err, Ident: "cron", PID: 5, Message: []byte("before it is there")})
	server := exec.Command(tool, "-n", "-iNONE", "-f", conf)
	start := func() {
		server = exec.Command(tool, "-n", "-iNONE", "-f", conf)
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
	}
	start()
	defer func() { server.Process.Kill(); server.Wait() }()
	w := f.attach(Stdout)
	f.waitFile(out, "1|cron|5|daemon.err|before it is there\n")
	f.write(w, "text\n")
	f.waitFile(out, "1|www|77|daemon.info|text\n")
	server.Process.Kill()
	server.Wait()
	f.write(w, "while it was away\nand more\n")
	f.pumped(w)
	start()
	f.waitFile(out, "1|www|77|daemon.info|while it was away\n")
	f.waitFile(out, "1|www|77|daemon.info|and more\n")
	if st := f.log.Status(); st.NotForwarded != 0 {
		t.Errorf("%+v", st)
	}
}

func (f *fixture) waitFile(path, line string) {
	f.t.Helper()
	for end := time.Now().Add(30 * time.Second); ; unix.Poll(nil, 10) {
		if b, _ := os.ReadFile(path); strings.Contains(string(b), line) {
			return
		} else if time.Now().After(end) {
			f.t.Fatalf("%q has not come; there is %q; %+v", line, b, f.log.Status())
		}
	}
}
