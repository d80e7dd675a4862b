package logs

import (
	"encoding/binary"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParseNative(t *testing.T) {
	long := func(name, value string) string {
		return name + "\n" + string(binary.LittleEndian.AppendUint64(nil, uint64(len(value)))) + value + "\n"
	}
	for _, tc := range []struct {
		in   string
		want []Record
	}{
		{"MESSAGE=hello\nPRIORITY=3\nSYSLOG_IDENTIFIER=app\nCODE_LINE=7\n",
			[]Record{{Priority: Err, Ident: "app", Message: []byte("hello"), Fields: []Field{{"CODE_LINE", "7"}}}}},
		{long("MESSAGE", "two\nlines") + "_UID=0\nbad=1\n9X=1\n", []Record{{Priority: Info, Message: []byte("two\nlines")}}},
		{"MESSAGE=one\n\nMESSAGE=two\n", []Record{{Priority: Info, Message: []byte("one")}, {Priority: Info, Message: []byte("two")}}},
		{"MESSAGE=one\nX\n\xff\xff\xff\xff\xff\xff\xff\xffy", []Record{{Priority: Info, Message: []byte("one"), Continued: true}}},
		{"PRIORITY=9\nA=\xff\n", []Record{{Priority: Info, Fields: []Field{{"PRIORITY", "9"}, {"A", "\ufffd"}}}}},
	} {
		got := ParseNative([]byte(tc.in))
		for i := range tc.want {
			tc.want[i].Stream = Journal
		}
		if !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%q: %+v, want %+v", tc.in, got, tc.want)
		}
		for _, r := range got {
			line := appendLine(nil, &r, position{}, nil)
			if len(line) > maxFileLine {
				t.Errorf("line of %d bytes", len(line))
			}
		}
	}
}

// Whatever a sender makes up, the line of it can be read again.
func TestNativeIsBounded(t *testing.T) {
	var b strings.Builder
	fmt.Fprintf(&b, "MESSAGE=%s\n", strings.Repeat("\x01", 2*MaxLine))
	for i := range 1000 {
		fmt.Fprintf(&b, "FIELD_%d=%s\n", i, strings.Repeat("\x01", 1000))
	}
	r := ParseNative([]byte(b.String()))[0]
	r.Ident = strings.Repeat("\x01", maxIdent)
	if line := appendLine(nil, &r, position{}, nil); len(line) > maxFileLine || !r.Continued {
		t.Errorf("line of %d bytes, continued %v", len(line), r.Continued)
	}
}

func FuzzParseNative(f *testing.F) {
	f.Add([]byte("MESSAGE=x\n\nA\n\x01\x00\x00\x00\x00\x00\x00\x00b\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, r := range ParseNative(b) {
			line := appendLine(nil, &r, position{}, nil)
			l, err := parseLine(line[:len(line)-1])
			if err != nil || string(l.record().Message) != string(r.Message) || l.Ident != r.Ident {
				t.Fatalf("%q: %s: %v", b, line, err)
			}
		}
	})
}

func TestParseSyslogForms(t *testing.T) {
	for in, want := range map[string]Record{
		"<11>Nov 23 16:02:11 app[7]: text":      {Priority: Err, Ident: "app", Message: []byte("text")},
		"<11>Nov 23 16:02:11 host app[7]: text": {Priority: Err, Ident: "app", Message: []byte("text")},
		"<11>Nov 23 16:02:11 no sender at all":  {Priority: Err, Message: []byte("no sender at all")},
		"<14>1 2026-11-23T16:02:11.003Z host app 7 ID47 [a@1 x=\"1\" y=\"q\\\"\\]\\\\\"][b@1] \ufefftext": {Priority: Info, Ident: "app", Message: []byte("text"),
			Fields: []Field{{"a@1.x", "1"}, {"a@1.y", "q\"]\\"}, {"MSGID", "ID47"}}},
		"<14>1 - - - - - -":              {Priority: Info},
		"<14>1 - - app - - - text":       {Priority: Info, Ident: "app", Message: []byte("text")},
		"<14>1 is the first number":      {Priority: Info, Message: []byte("1 is the first number")},
		"<14>1 - - app - - [a x=\"1 end": {Priority: Info, Message: []byte("1 - - app - - [a x=\"1 end")},
		"ERROR\n":                        {Priority: Notice, Message: []byte("ERROR")},
	} {
		want.Stream = Syslog
		got := ParseSyslog([]byte(in))
		if len(got.Message) == 0 {
			got.Message = nil
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v, want %+v", in, got, want)
		}
		if isNative([]byte(in)) {
			t.Errorf("%q is taken for the journal's protocol", in)
		}
	}
}

// sd_journal_send puts what is too long for a datagram into a sealed memfd. One that
// can still change, or something that would block, is not read.
func TestSealedMemfd(t *testing.T) {
	f := newFixture(t, nil)
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[1])
	if err := f.log.AttachSyslog(fds[0]); err != nil {
		t.Fatal(err)
	}
	send := func(text string, seal bool) {
		fd, err := unix.MemfdCreate("entry", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		unix.Write(fd, []byte(text))
		if seal {
			unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE)
		}
		if err := unix.Sendmsg(fds[1], nil, unix.UnixRights(fd), nil, 0); err != nil {
			t.Fatal(err)
		}
	}
	send("MESSAGE=sealed\nBIG="+strings.Repeat("x", 300_000)+"\n", true)
	send("MESSAGE=open\n", false)
	var pipe [2]int
	unix.Pipe2(pipe[:], unix.O_CLOEXEC)
	unix.Sendmsg(fds[1], nil, unix.UnixRights(pipe[0]), nil, 0)
	f.drain()
	f.want("sealed")
	if r := f.read(Query{})[0]; !r.Continued || r.PID == 0 {
		t.Errorf("record %+v", r)
	}
	f.wantNotice("no sealed memfd")
	unix.Close(pipe[0])
	unix.Close(pipe[1])
}
