package logs

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// Whatever a record holds comes back exactly, and the line is JSON on one line.
func TestRecordRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := Record{
			Time:      time.Unix(0, rapid.Int64Range(0, 1<<62).Draw(t, "time")),
			Seq:       rapid.Uint64().Draw(t, "seq"),
			Stream:    Stream(rapid.IntRange(0, 3).Draw(t, "stream")),
			Priority:  Priority(rapid.IntRange(0, 7).Draw(t, "priority")),
			PID:       rapid.IntRange(0, 1<<22).Draw(t, "pid"),
			Ident:     rapid.String().Draw(t, "ident"),
			Continued: rapid.Bool().Draw(t, "continued"),
			Message:   rapid.OneOf(rapid.SliceOf(rapid.Byte()), rapid.Map(rapid.String(), func(s string) []byte { return []byte(s) })).Draw(t, "message"),
		}
		pos := position{off: [staged]int64{rapid.Int64Range(0, 1<<62).Draw(t, "stdout"), rapid.Int64Range(0, 1<<62).Draw(t, "stderr")},
			mid: [staged]uint8{rapid.Uint8Max(8).Draw(t, "mid"), 0}}
		b := appendLine(nil, &r, pos, nil)
		if bytes.IndexByte(b, '\n') != len(b)-1 || !json.Valid(b) {
			t.Fatalf("not one line of JSON: %q", b)
		}
		l, err := parseLine(b[:len(b)-1])
		if err != nil {
			t.Fatal(err)
		}
		got := l.record()
		if !bytes.Equal(got.Message, r.Message) || l.position() != pos {
			t.Fatalf("message %q, position %+v; want %q, %+v", got.Message, l.position(), r.Message, pos)
		}
		got.Message, r.Message = nil, nil
		if d := cmp.Diff(r, got); d != "" {
			t.Fatal(d)
		}
	})
}

// Framing does not depend on how the bytes are cut into reads.
func TestNextLineIsIndependentOfPieces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.SliceOf(rapid.SampledFrom([]byte("ab\n\x00\xff"))).Draw(t, "text")
		var whole, pieces []string
		rest := text
		for {
			line, size, _, ok := nextLine(rest, false)
			if !ok {
				break
			}
			whole, rest = append(whole, string(line)), rest[size:]
		}
		var buf []byte
		for _, c := range text {
			buf = append(buf, c)
			if line, size, _, ok := nextLine(buf, false); ok {
				pieces, buf = append(pieces, string(line)), buf[size:]
			}
		}
		if d := cmp.Diff(whole, pieces); d != "" || !bytes.Equal(buf, rest) {
			t.Fatalf("%s, rest %q and %q", d, rest, buf)
		}
	})
}

func TestParseLineRefuses(t *testing.T) {
	for _, in := range []string{"", "{}", "null", "[]", "{\"t\":1", `{"s":9,"o":[0,0]}`, `{"s":0,"p":8}`, `{"s":0,"o":[-1,0]}`, `{"v":2,"t":1}`, `{"s":0,"b":"%%"}`} {
		if l, err := parseLine([]byte(in)); err == nil {
			t.Errorf("%q is read as %+v", in, l)
		}
	}
}

func FuzzParseLine(f *testing.F) {
	f.Add([]byte(`{"t":1700000000123456789,"n":17,"s":0,"p":6,"m":"text","o":[512,0]}`))
	f.Add([]byte(`{"v":1,"unit":"web","t":1,"n":0,"o":[0,0],"mid":[7,0]}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		l, err := parseLine(in)
		if err != nil || l.isMark() {
			return
		}
		r := l.record()
		for _, style := range []Style{Short, JSON, Cat} {
			out := Formatter{Style: style, Unit: "web"}.Append(nil, &r)
			if bytes.ContainsAny(bytes.TrimSuffix(out, []byte("\n")), "\n\x1b\x00") {
				t.Errorf("style %d shows %q", style, out)
			}
		}
	})
}

func TestParseSyslog(t *testing.T) {
	for _, tc := range []struct {
		in, ident, message string
		priority           Priority
	}{
		{"<30>Nov 23 16:02:11 app[12]: hello", "app", "hello", Info},
		{"<30>Nov  3 16:02:11 app: hello", "app", "hello", Info},
		{"<11>app[1]: x", "app", "x", Err},
		{"<191>app: x", "app", "x", Debug},
		{"<192>app: x", "", "<192>app: x", Notice},
		{"<999999>x", "", "<999999>x", Notice},
		{"<>x", "", "<>x", Notice},
		{"<3", "", "<3", Notice},
		{"<13>Nov 23 16:02:11 no colon here", "", "no colon here", Notice},
		{"<13>Nov 23 16:02:11 app[12: x", "", "app[12: x", Notice},
		{"<13>Nov 23 16:02:11 app[x]: y", "", "app[x]: y", Notice},
		{"<13>Foo 23 16:02:11 x: y", "", "Foo 23 16:02:11 x: y", Notice},
		{"<13>Nov 23 16:02:11 (odd-name/1): y", "(odd-name/1)", "y", Notice},
		{"<13>Nov 23 16:02:11 app: two\nlines\n\x00", "app", "two\nlines", Notice},
		{"<13>app: \xff\x00\x1b", "app", "\xff\x00\x1b", Notice},
		{"plain text", "", "plain text", Notice},
		{"", "", "", Notice},
		{"<13>" + strings.Repeat("x", 200) + ": y", "", strings.Repeat("x", 200) + ": y", Notice},
	} {
		r := ParseSyslog([]byte(tc.in))
		if r.Ident != tc.ident || string(r.Message) != tc.message || r.Priority != tc.priority || r.Stream != Syslog {
			t.Errorf("%q: ident %q, message %q, priority %d; want %q, %q, %d", tc.in, r.Ident, r.Message, r.Priority, tc.ident, tc.message, tc.priority)
		}
	}
}

func FuzzParseSyslog(f *testing.F) {
	f.Add([]byte("<30>Nov 23 16:02:11 app[12]: hello"))
	f.Fuzz(func(t *testing.T, in []byte) {
		r := ParseSyslog(in)
		if r.Priority > Debug || len(r.Message) > len(in) || len(r.Ident) > maxIdent {
			t.Errorf("%+v", r)
		}
	})
}

func TestFormat(t *testing.T) {
	r := Record{Time: time.Date(2026, 11, 23, 16, 2, 11, 123456789, time.UTC), Seq: 17, Stream: Stderr, Priority: Err, Message: []byte("a\tb\x1b[31m\x00\u202e\u009b\xff\u00e9")}
	sys := Record{Time: r.Time, Seq: 18, Stream: Syslog, Priority: Info, PID: 12, Ident: "app", Message: []byte("hi")}
	cut := Record{Time: r.Time, Stream: Stdout, Message: []byte("part"), Continued: true}
	f := Formatter{Unit: "web", Location: time.UTC}
	for _, tc := range []struct {
		name   string
		format Formatter
		r      Record
		want   string
	}{
		{"short", f, r, `Nov 23 16:02:11 web[stderr]: a` + "\t" + `b\x1b[31m\x00\u202e\xc2\x9b\xff` + "\u00e9\n"},
		{"short syslog", f, sys, "Nov 23 16:02:11 app[12]: hi\n"},
		{"cat", Formatter{Style: Cat}, sys, "hi\n"},
		{"cat, continued", Formatter{Style: Cat}, cut, "part"},
		{"cat, raw", Formatter{Style: Cat, Raw: true}, r, string(r.Message) + "\n"},
		{"json", Formatter{Style: JSON, Unit: "web"}, sys, `{"time":"2026-11-23T16:02:11.123456789Z","unit":"web","seq":18,"stream":"syslog","priority":6,"pid":12,"ident":"app","message":"hi"}` + "\n"},
		{"json, bytes", Formatter{Style: JSON, Unit: "web"}, Record{Time: r.Time, Message: []byte("\xff")}, `{"time":"2026-11-23T16:02:11.123456789Z","unit":"web","seq":0,"stream":"stdout","priority":0,"message_base64":"/w=="}` + "\n"},
	} {
		if got := string(tc.format.Append(nil, &tc.r)); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}

// writeLog makes a log of n records, one a second, over several files.
func writeLog(t *testing.T, n int) (dir string, base time.Time) {
	t.Helper()
	dir, base = t.TempDir(), time.Unix(1_800_000_000, 0)
	for i := 0; i < n; i += 100 {
		b := appendMark(nil, "web", base, uint64(i), position{}, nil)
		for j := i; j < min(i+100, n); j++ {
			r := Record{Time: base.Add(time.Duration(j) * time.Second), Seq: uint64(j + 1), Stream: Stream(j % 2), Priority: Priority(j % 8), Message: fmt.Appendf(nil, "m%d", j)}
			b = appendLine(b, &r, position{}, nil)
		}
		path := rotatedPath(dir, uint64(i+1))
		if i+100 >= n {
			path = filepath.Join(dir, currentName)
			b = append(b, `{"t":1,"n":99999,"s":0,"m":"being writ`...)
		}
		if err := os.WriteFile(path, b, 0o640); err != nil {
			t.Fatal(err)
		}
		last := base.Add(time.Duration(i+99) * time.Second)
		os.Chtimes(path, last, last)
		if i == 100 {
			if err := compressFile(path); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir, base
}

func TestQueries(t *testing.T) {
	dir, base := writeLog(t, 450)
	warning := Warning
	at := func(i int) time.Time { return base.Add(time.Duration(i) * time.Second) }
	for _, tc := range []struct {
		name        string
		q           Query
		n           int
		first, last string
	}{
		{"all", Query{}, 450, "m0", "m449"},
		{"last 10", Query{Lines: 10}, 10, "m440", "m449"},
		{"last 60 over two files", Query{Lines: 60}, 60, "m390", "m449"},
		{"last 300 over a packed one", Query{Lines: 300}, 300, "m150", "m449"},
		{"last of more than there are", Query{Lines: 1000}, 450, "m0", "m449"},
		{"since", Query{Since: at(150)}, 300, "m150", "m449"},
		{"since, last 10", Query{Since: at(445), Lines: 10}, 5, "m445", "m449"},
		{"until", Query{Until: at(150)}, 151, "m0", "m150"},
		{"until, last 10", Query{Until: at(150), Lines: 10}, 10, "m141", "m150"},
		{"cursor", Query{AfterSeq: 150}, 300, "m150", "m449"},
		{"cursor at the end", Query{AfterSeq: 450}, 0, "", ""},
		{"cursor at a file's end", Query{AfterSeq: 200}, 250, "m200", "m449"},
		{"cursor and lines", Query{AfterSeq: 445, Lines: 10}, 5, "m445", "m449"},
		{"priority", Query{Priority: &warning}, 282, "m0", "m449"},
		{"stream", Query{Streams: []Stream{Stderr}}, 225, "m1", "m449"},
		{"grep", Query{Grep: regexp.MustCompile("m1.$")}, 10, "m10", "m19"},
		{"grep, last", Query{Grep: regexp.MustCompile("9$"), Lines: 20}, 20, "m259", "m449"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got []string
			for r, err := range Read(context.Background(), dir, tc.q) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, string(r.Message))
			}
			if len(got) != tc.n {
				t.Fatalf("%d records, want %d", len(got), tc.n)
			}
			if tc.n > 0 && (got[0] != tc.first || got[tc.n-1] != tc.last) {
				t.Errorf("%s to %s, want %s to %s", got[0], got[tc.n-1], tc.first, tc.last)
			}
		})
	}
}

// A follower sees each record once, whatever is rotated and removed under it.
func TestFollowOverRotations(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.MaxSize = 2000 })
	w := f.attach(Stdout)
	f.write(w, "line 0\n")
	f.drain()
	write := func() {
		for i := 1; i < 2000; i++ {
			unix.Write(w, fmt.Appendf(nil, "line %d\n", i))
			if i%50 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
		unix.Close(w)
	}
	next := 0
	for r, err := range Read(deadline(t), f.cfg.Dir, Query{Lines: 1, Follow: true}) {
		if err != nil {
			t.Fatal(err)
		}
		if next == 0 {
			go write() // not before: the last line is what following begins with
		}
		if want := fmt.Sprint("line ", next); string(r.Message) != want {
			t.Fatalf("got %q, want %q", r.Message, want)
		}
		if next++; next == 2000 {
			break
		}
	}
	if next != 2000 {
		t.Errorf("only %d records", next)
	}
}

func TestFollowEndsWithContext(t *testing.T) {
	f := newFixture(t, nil)
	f.log.Notice(Notice, "here")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	before := len(f.fds())
	for _, err := range Read(ctx, f.cfg.Dir, Query{Follow: true}) {
		if err != nil {
			t.Fatal(err)
		}
		cancel()
	}
	if n := len(f.fds()); n != before {
		t.Errorf("%d descriptors, %d before", n, before)
	}
}

func TestStreamNames(t *testing.T) {
	for s := Stdout; s <= Journal; s++ {
		if got, err := ParseStream(s.String()); got != s || err != nil {
			t.Errorf("%s: %v, %v", s, got, err)
		}
	}
	if _, err := ParseStream("nothing"); err == nil {
		t.Error("no error for an unknown stream")
	}
}
