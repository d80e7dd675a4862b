package machine_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait: far above what anything takes where the processor
// is emulated and others use it too.
const patience = 45 * time.Second

// machine is one that runs, and the ways into it.
type machine struct {
	dir, accel string
	image      string
	power      power // how it was last switched on
	again      bool  // it was switched on once more, because it had stalled
	qemu       *exec.Cmd
	ended      chan struct{} // closed when it has been waited for
	off        bool          // that it goes off is the test's wish
	agent      net.Conn
	qmp        *qmp
	here       chan struct{} // has one for each time that the agent has come up
	console    net.Conn

	mu      sync.Mutex
	next    int
	waiting map[int]chan answer
}

// request and answer are the agent's (testdata/agent).
type request struct {
	ID      int
	Script  string
	Timeout time.Duration
}

type answer struct {
	ID       int
	Code     int
	Out, Err string
}

// power says how a machine is switched on.
type power struct {
	append string   // to the kernel's command line
	disks  []string // files of raw disks: /dev/vda, /dev/vdb
	reboot bool     // the machine may reset and boot again
	memory int      // MiB; 0: 1024
}

// newMachine makes a machine from an image. It is off.
func newMachine(t *testing.T, im image) *machine {
	t.Helper()
	k := needTools(t)
	dir, err := os.MkdirTemp("", "nsm-")
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{dir: dir, accel: k.accel}
	t.Cleanup(func() { os.RemoveAll(dir) })
	m.image = im.build(t, k, dir)
	t.Cleanup(func() { m.end(t) })
	return m
}

// boot makes a machine, switches it on and waits until the agent is there.
func boot(t *testing.T, im image, p power) *machine {
	t.Helper()
	m := newMachine(t, im)
	m.on(t, p)
	m.ready(t)
	return m
}

// on switches a machine on.
func (m *machine) on(t *testing.T, p power) {
	t.Helper()
	if m.qemu != nil { // off, if the test went as it should
		m.cut()
		m.close()
	}
	m.power = p
	m.next, m.waiting, m.here, m.ended, m.off = 0, map[int]chan answer{}, make(chan struct{}, 8), make(chan struct{}), false
	socket := func(name string) string { return filepath.Join(m.dir, name+".sock") }
	for _, name := range []string{"qmp", "agent", "serial"} {
		os.Remove(socket(name))
	}
	memory := p.memory
	if memory == 0 {
		memory = 1024
	}
	args := []string{"-M", "q35", "-accel", m.accel, "-cpu", "max", "-smp", "2", "-m", fmt.Sprint(memory), "-nodefaults", "-no-user-config", "-display", "none",
		"-kernel", filepath.Join(m.image, "vmlinuz"), "-initrd", filepath.Join(m.image, "initramfs.cpio"),
		"-append", strings.TrimSpace("console=ttyS0 loglevel=4 panic=-1 no_timer_check " + p.append),
		"-chardev", "socket,id=serial,server=on,wait=off,path=" + socket("serial") + ",logappend=on,logfile=" + m.log(), "-serial", "chardev:serial",
		"-chardev", "socket,id=agent,server=on,wait=off,path=" + socket("agent"), "-device", "virtio-serial-pci", "-device", "virtserialport,chardev=agent,name=agent",
		"-qmp", "unix:" + socket("qmp") + ",server=on,wait=off", "-device", "virtio-rng-pci"}
	for i, disk := range p.disks {
		args = append(args, "-drive", fmt.Sprintf("if=none,format=raw,id=disk%d,file=%s", i, disk), "-device", fmt.Sprintf("virtio-blk-pci,drive=disk%d", i))
	}
	if !p.reboot {
		args = append(args, "-no-reboot")
	}
	m.qemu = exec.Command("qemu-system-x86_64", args...)
	m.qemu.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // with a test that is killed, too
	said, err := os.OpenFile(filepath.Join(m.dir, "qemu.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer said.Close()
	m.qemu.Stdout, m.qemu.Stderr = said, said
	if err := m.qemu.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		m.qemu.Wait()
		close(m.ended)
	}()
	if m.qmp, err = newQMP(m.dial(t, socket("qmp"))); err != nil {
		t.Fatal(err)
	}
	m.agent, m.console = m.dial(t, socket("agent")), m.dial(t, socket("serial"))
	go io.Copy(io.Discard, m.console) // QEMU keeps the log; both end with QEMU
	go m.listen(m.agent, m.here)
}

// dial connects to QEMU, which makes its sockets after it has started.
func (m *machine) dial(t *testing.T, path string) net.Conn {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		conn, err := net.Dial("unix", path)
		if err == nil {
			return conn
		}
		select {
		case <-m.ended:
			said, _ := os.ReadFile(filepath.Join(m.dir, "qemu.log"))
			t.Fatalf("QEMU does not run: %s", said)
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("QEMU does not answer: %v", err)
		}
	}
}

// listen hands the agent's answers to who waits for them, until the machine is
// off.
func (m *machine) listen(conn net.Conn, here chan struct{}) {
	lines := bufio.NewReader(conn)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		var a answer
		if json.Unmarshal(bytes.TrimLeft(line, "\x00"), &a) != nil {
			continue
		}
		if a.ID == 0 {
			here <- struct{}{}
			continue
		}
		m.mu.Lock()
		ch := m.waiting[a.ID]
		delete(m.waiting, a.ID)
		m.mu.Unlock()
		if ch != nil {
			ch <- a
		}
	}
}

// ready waits until the agent is there.
func (m *machine) ready(t *testing.T) {
	t.Helper()
	select {
	case <-m.here:
	case <-m.ended:
		t.Fatalf("the machine went off while it booted (%s)", m.qmp.reason())
	case <-time.After(patience):
		if m.stalled() && !m.again {
			m.again = true
			t.Logf("the emulated processors stalled in the kernel; the machine is switched on once more:\n%s", tail(m.serial()))
			m.cut()
			if err := os.Truncate(m.log(), 0); err != nil {
				t.Fatal(err)
			}
			m.on(t, m.power)
			m.ready(t)
			return
		}
		t.Fatalf("the agent does not speak after %v", patience)
	}
}

// stalled reports whether the kernel says of itself that no processor got on, which
// no process can bring about: emulated processors do it on a busy host, seldom.
func (m *machine) stalled() bool {
	said := m.serial()
	return m.accel == "tcg" && (strings.Contains(said, "self-detected stall") || strings.Contains(said, "soft lockup"))
}

// run has the agent run a shell script in the machine, limit long at most.
func (m *machine) run(script string, limit time.Duration) (answer, error) {
	ch := make(chan answer, 1)
	m.mu.Lock()
	m.next++
	id := m.next
	m.waiting[id] = ch
	m.mu.Unlock()
	line, err := json.Marshal(request{id, script, limit})
	if err != nil {
		return answer{}, err
	}
	if _, err := m.agent.Write(append(line, '\n')); err != nil {
		return answer{}, fmt.Errorf("cannot tell the agent: %w", err)
	}
	select {
	case a := <-ch:
		return a, nil
	case <-m.ended:
		return answer{}, errors.New("the machine went off")
	case <-time.After(limit + patience):
		return answer{}, fmt.Errorf("no answer from the agent after %v", limit+patience)
	}
}

// sh gives what a script prints; it must exit 0.
func (m *machine) sh(t *testing.T, script string) string {
	t.Helper()
	a, err := m.run(script, patience)
	if err != nil {
		t.Fatalf("%s: %v", script, err)
	}
	if a.Code != 0 {
		t.Fatalf("%s: exit %d: %s%s", script, a.Code, a.Out, a.Err)
	}
	return strings.TrimSpace(a.Out)
}

// until waits in the machine for a command to succeed, and gives what it
// printed.
func (m *machine) until(t *testing.T, command string) string {
	t.Helper()
	a, err := m.run("until "+command+"; do sleep 0.1; done", patience)
	if err != nil || a.Code != 0 {
		t.Fatalf("never true in the machine: %s (%v)\n%s%s", command, err, tail(a.Out), tail(a.Err))
	}
	return strings.TrimSpace(a.Out)
}

// eventually is until for a machine in which no process can be made for a time.
func (m *machine) eventually(t *testing.T, command string) {
	t.Helper()
	var last answer
	for deadline := time.Now().Add(3 * patience); time.Now().Before(deadline); time.Sleep(time.Second) {
		a, err := m.run(command, 10*time.Second)
		if err != nil {
			t.Fatalf("%s: %v", command, err)
		}
		if a.Code == 0 {
			return
		}
		last = a
	}
	t.Fatalf("never true in the machine: %s: %+v", command, last)
}

func tail(s string) string { return s[max(0, len(s)-1500):] }

// wentOff waits for the machine to go off, and says why it did.
func (m *machine) wentOff(t *testing.T, limit time.Duration) (reason string) {
	t.Helper()
	m.off = true
	select {
	case <-m.ended:
		return m.qmp.reason()
	case <-time.After(limit):
		t.Fatalf("the machine is still on after %v", limit)
	}
	return ""
}

// cut takes the power away.
func (m *machine) cut() {
	m.off = true
	m.qemu.Process.Kill()
	<-m.ended
}

func (m *machine) log() string { return filepath.Join(m.dir, "serial.log") }

// serial is what has been printed on the console so far, of all boots.
func (m *machine) serial() string {
	b, _ := os.ReadFile(m.log())
	return string(b)
}

// says waits until the console has said a text after the first so many bytes
// of all that it said, and gives where it ends.
func (m *machine) says(t *testing.T, text string, after int) int {
	t.Helper()
	for deadline := time.Now().Add(4 * patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		said := m.serial()
		if i := strings.Index(said[min(after, len(said)):], text); i >= 0 {
			return after + i + len(text)
		}
		select {
		case <-m.ended:
			t.Fatalf("the machine went off and never said %q on its console", text)
		default:
		}
	}
	t.Fatalf("the console never said %q", text)
	return 0
}

// typed types a line for a shell on the console, waits until it has been carried
// out, and gives what was printed from then on.
func (m *machine) typed(t *testing.T, line string) string {
	t.Helper()
	m.mu.Lock()
	m.next++
	mark := fmt.Sprintf("DONE%d.", m.next)
	m.mu.Unlock()
	from := len(m.serial())
	// The line's own echo must not look like the mark.
	if _, err := fmt.Fprintf(m.console, "%s\necho DO''%s\n", line, mark[2:]); err != nil {
		t.Fatal(err)
	}
	end := m.says(t, mark, from)
	return m.serial()[from:end]
}

// close lets go of a machine that is off.
func (m *machine) close() {
	for _, c := range []net.Conn{m.agent, m.console, m.qmp.conn} {
		c.Close()
	}
}

// disasters are what never stands on a console.
var disasters = []string{"Attempted to kill init", "Kernel panic", "panic:", "fatal error:", "goroutine 1 [", "BUG:"}

// end switches the machine off and looks at what it left on the console.
func (m *machine) end(t *testing.T) {
	if m.qemu == nil {
		return
	}
	select {
	case <-m.ended:
		if !m.off {
			t.Errorf("the machine went off by itself (%s)", m.qmp.reason())
		}
	default:
		m.cut()
	}
	m.close()
	said := m.serial()
	for _, d := range disasters {
		if strings.Contains(said, d) {
			t.Errorf("on the console: %q", d)
		}
	}
	if t.Failed() {
		t.Logf("the console's last:\n%s", tail(said))
	}
}
