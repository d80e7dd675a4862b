package supervisor

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nsinit/nsinit/supervisor/control"
	"github.com/nsinit/nsinit/supervisor/machine"
)

// addLog adds a line to a unit's log as the pump writes it: at is in seconds.
func addLog(t *testing.T, m *Manager, unit string, seq, at int, text string) {
	t.Helper()
	dir := m.logDir(unit)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "current"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fmt.Fprintf(f, `{"t":%d,"n":%d,"s":0,"p":6,"m":%q,"o":[0,0]}`+"\n", int64(at)*1e9, seq, text)
}

func texts(t *testing.T, m *Manager, q control.LogQuery) (out []string) {
	t.Helper()
	for r, err := range (backend{m: m}).Logs(context.Background(), q) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, r.Unit+":"+r.Text)
	}
	return out
}

func TestLogsMerged(t *testing.T) {
	m := loaded(t, nil)
	addLog(t, m, "a", 1, 1, "one")
	addLog(t, m, "b", 1, 2, "two")
	addLog(t, m, "a", 2, 3, "three")
	addLog(t, m, "c", 1, 4, "four")
	if err := os.Symlink(m.logDir("a"), m.logDir("link")); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		q    control.LogQuery
		want []string
	}{
		{"all", control.LogQuery{}, []string{"a:one", "b:two", "a:three", "c:four"}},
		{"last", control.LogQuery{Last: 2}, []string{"a:three", "c:four"}},
		{"since", control.LogQuery{SinceUsec: 2e6, UntilUsec: 3e6}, []string{"b:two", "a:three"}},
		{"grep", control.LogQuery{Grep: "^t"}, []string{"b:two", "a:three"}},
		{"priority", control.LogQuery{MaxPriority: "5"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := texts(t, m, tt.q); !slices.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

// A record belongs to the present generation if it is not older.
func TestLogsGeneration(t *testing.T) {
	m := loaded(t, nil)
	at := time.Now().Add(-time.Minute)
	c := clockNow()
	m.services["a"] = &service{name: "a", snap: machine.Snapshot{Machine: machine.Machine{Generation: 4, StartedAt: c.boot - machine.Instant(time.Since(at))}}}
	addLog(t, m, "a", 1, int(at.Unix())-5, "old")
	addLog(t, m, "a", 2, int(at.Unix())+5, "new")
	var got []uint64
	for r, err := range (backend{m: m}).Logs(context.Background(), control.LogQuery{}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, r.Generation)
	}
	if !slices.Equal(got, []uint64{0, 4}) {
		t.Errorf("generations %v", got)
	}
}

// Whoever asks for a unit that does not exist is told; a bad one has no log.
func TestLogsOfUnknown(t *testing.T) {
	m := loaded(t, map[string]string{"bad.toml": "[service]\nexec_startt = 'x'\n"})
	for name, code := range map[string]string{"nobody": control.CodeNoSuchUnit, "../x": control.CodeBadRequest, "bad": "", "default": ""} {
		got := ""
		for _, err := range (backend{m: m}).Logs(context.Background(), control.LogQuery{Units: []string{name}}) {
			got = asControlError(err).Code
		}
		if got != code {
			t.Errorf("%s: %q, want %q", name, got, code)
		}
	}
}

// Records that are written while somebody follows come exactly once, those of
// a log that begins later too.
func TestLogsFollow(t *testing.T) {
	m := loaded(t, nil)
	addLog(t, m, "a", 1, 1, "one")
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var got []string
	for r, err := range (backend{m: m}).Logs(ctx, control.LogQuery{Follow: true}) {
		if err != nil {
			t.Fatal(err)
		}
		switch got = append(got, r.Unit+":"+r.Text); len(got) {
		case 1:
			addLog(t, m, "a", 2, 2, "two")
		case 2:
			addLog(t, m, "b", 1, 3, "three")
			m.events.publish(control.Event{Unit: "b"})
		}
		if len(got) == 3 {
			break
		}
	}
	if want := []string{"a:one", "a:two", "b:three"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestLogNames(t *testing.T) {
	for _, bad := range []string{"", ".", "..", "a/b", "/etc", "../x", "a\x00b"} {
		if isLogName(bad) {
			t.Errorf("%q can name a log", bad)
		}
	}
	for _, good := range []string{"web", "getty@tty1", "a..b", "x-y.z", strings.Repeat("u", 255)} {
		if !isLogName(good) {
			t.Errorf("%q cannot name a log", good)
		}
	}
}
