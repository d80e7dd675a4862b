package logs

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// machineLog is a socket that stands for one of the machine's logs.
type machineLog struct {
	t    *testing.T
	path string
	fd   int
}

func listen(t *testing.T, path string) *machineLog {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	tv := unix.NsecToTimeval(int64(20 * time.Second)) // an error, not a rhythm
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		t.Fatal(err)
	}
	m := &machineLog{t: t, path: path, fd: fd}
	t.Cleanup(m.close)
	return m
}

func (m *machineLog) close() {
	if m.fd >= 0 {
		unix.Close(m.fd)
		os.Remove(m.path)
		m.fd = -1
	}
}

func (m *machineLog) next() string {
	m.t.Helper()
	buf := make([]byte, 256<<10)
	n, err := unix.Read(m.fd, buf)
	if err != nil {
		m.t.Fatalf("nothing came: %v", err)
	}
	return string(buf[:n])
}

func forwarding(t *testing.T, to ...string) (*fixture, string) {
	dir := t.TempDir()
	f := newFixture(t, func(c *Config) { c.Forward, c.Identifier = to, "www" })
	f.pump.ForwardTo(filepath.Join(dir, "log"), filepath.Join(dir, "journal"))
	return f, dir
}

func TestForwardSyslog(t *testing.T) {
	f, dir := forwarding(t, ToSyslog)
	m := listen(t, filepath.Join(dir, "log"))
	f.log.Main(77)
	w := f.attach(Stdout)
	f.write(w, "<3>one\ntwo\x1b\n")
	f.drain()
	f.log.Append(Record{Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.Local), Stream: Syslog, Priority: Warning, Ident: "cron", PID: 5, Message: []byte("tick")})
	f.log.Append(Record{Stream: Syslog, Priority: Info, Message: []byte("nameless")})
	unix.Close(w)
	var got []string
	for range 4 {
		line := m.next()
		at := strings.Index(line, ">")
		if _, err := time.Parse(time.Stamp, line[at+1:at+1+len(time.Stamp)]); err != nil {
			t.Errorf("%q: %v", line, err)
		}
		got = append(got, line[:at+1]+line[at+1+len(time.Stamp):])
	}
	want := []string{"<27> www[77]: one", "<30> www[77]: two\x1b", "<28> cron[5]: tick", "<30> www: nameless"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// fields reads a datagram of the Native Journal Protocol.
func fields(t *testing.T, b []byte) map[string]string {
	t.Helper()
	out := map[string]string{}
	for len(b) > 0 {
		line, rest, _ := bytes.Cut(b, []byte("\n"))
		if name, value, plain := bytes.Cut(line, []byte("=")); plain {
			out[string(name)], b = string(value), rest
			continue
		}
		n := binary.LittleEndian.Uint64(rest)
		out[string(line)] = string(rest[8 : 8+n])
		if rest[8+n] != '\n' {
			t.Fatalf("field %s does not end in a newline", line)
		}
		b = rest[8+n+1:]
	}
	return out
}

func TestForwardJournal(t *testing.T) {
	f, dir := forwarding(t, ToJournal)
	m := listen(t, filepath.Join(dir, "journal"))
	f.log.Main(77)
	f.log.Append(Record{Stream: Syslog, Priority: Err, Message: []byte("a\nMESSAGE=b\x00")})
	w := f.attach(Stderr)
	f.write(w, "text\n")
	unix.Close(w)
	want := []map[string]string{
		{"PRIORITY": "3", "SYSLOG_FACILITY": "3", "SYSLOG_IDENTIFIER": "www", "NSINIT_UNIT": "web", "NSINIT_STREAM": "syslog", "NSINIT_SEQ": "1", "MESSAGE": "a\nMESSAGE=b\x00"},
		{"PRIORITY": "6", "SYSLOG_FACILITY": "3", "SYSLOG_IDENTIFIER": "www", "SYSLOG_PID": "77", "OBJECT_PID": "77", "NSINIT_UNIT": "web", "NSINIT_STREAM": "stderr", "NSINIT_SEQ": "2", "MESSAGE": "text"}}
	for _, w := range want {
		if diff := cmp.Diff(w, fields(t, []byte(m.next()))); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}
}

// A log that takes nothing costs the service nothing: what does not fit into the
// queue is counted and told of, and the unit's own log is whole.
func TestForwardToWhoDoesNotRead(t *testing.T) {
	f, dir := forwarding(t, ToSyslog)
	m := listen(t, filepath.Join(dir, "log"))
	const lines = 30000
	w := f.attach(Stdout)
	for i := range lines {
		f.write(w, fmt.Sprintf("%07d %0100d\n", i, 0))
	}
	unix.Close(w)
	f.drain()
	st := f.log.Status()
	if st.Records < lines || st.NotForwarded == 0 || st.NotForwarded >= lines {
		t.Fatalf("%+v", st)
	}
	// Once it reads, it gets in order what has waited, and the log tells of the rest.
	got := 0
	for uint64(got) < lines-st.NotForwarded {
		line := m.next()
		if !strings.Contains(line, fmt.Sprintf(": %07d ", got)) {
			t.Fatalf("%d: %q", got, line)
		}
		got++
	}
	f.awaitUnsent(st.NotForwarded)
}

// awaitUnsent follows the log until the manager has told of so many records.
func (f *fixture) awaitUnsent(want uint64) {
	f.t.Helper()
	told := uint64(0)
	for r, err := range Read(deadline(f.t), f.cfg.Dir, Query{Follow: true, Streams: []Stream{Manager}}) {
		if err != nil {
			f.t.Fatalf("told of %d records, not %d: %v", told, want, err)
		}
		var n uint64
		if _, err := fmt.Sscanf(string(r.Message), "log: %d records were not forwarded to syslog", &n); err == nil {
			told += n
		}
		if told == want {
			return
		}
	}
}

// A log that is not there, or is started anew, gets what has waited.
func TestForwardWhenItComesBack(t *testing.T) {
	f, dir := forwarding(t, ToJournal)
	path := filepath.Join(dir, "journal")
	f.log.Notice(Info, "before")
	f.barrier()
	m := listen(t, path)
	if got := fields(t, []byte(m.next()))["MESSAGE"]; got != "before" {
		t.Errorf("got %q", got)
	}
	m.close()
	f.log.Notice(Info, "between")
	f.barrier()
	m = listen(t, path)
	if got := fields(t, []byte(m.next()))["MESSAGE"]; got != "between" {
		t.Errorf("got %q", got)
	}
	if st := f.log.Status(); st.NotForwarded != 0 {
		t.Errorf("%+v", st)
	}
}

// What is too long for a datagram is left out, and said so; the next one goes on.
func TestForwardTooLong(t *testing.T) {
	f, dir := forwarding(t, ToSyslog)
	m := listen(t, filepath.Join(dir, "log"))
	f.log.Append(Record{Stream: Syslog, Message: bytes.Repeat([]byte("x"), 800<<10)})
	f.log.Notice(Info, "after")
	if got := m.next(); !strings.HasSuffix(got, ": after") {
		t.Errorf("got %.100q", got)
	}
	f.log.Notice(Info, "and then")
	f.barrier()
	if st := f.log.Status(); st.NotForwarded != 1 {
		t.Errorf("%+v", st)
	}
	f.awaitUnsent(1)
}
