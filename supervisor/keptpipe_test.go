package supervisor

import (
	"testing"

	"github.com/nsinit/nsinit/supervisor/logs"
	"github.com/nsinit/nsinit/supervisor/machine"
)

func TestPipeName(t *testing.T) {
	for _, n := range []pipeName{
		{machine.Ref{Unit: "web", Generation: 4}, logs.Stdout, 81923},
		{machine.Ref{Unit: "getty@tty1", Generation: 1}, logs.Stderr, 1},
	} {
		if got, ok := parsePipeName(n.String()); !ok || got != n {
			t.Errorf("%s reads as %+v, %v", n, got, ok)
		}
	}
	for _, name := range []string{"", "pipe", "fd/web/x", "pipe/web/4/stdin/1", "pipe/web/x/stdout/1", "pipe/web/4/stdout/-1", "pipe/web/4/stdout/1/2",
		"pipe/web/04/stdout/1", "pipe/web/+4/stdout/1"} {
		if got, ok := parsePipeName(name); ok {
			t.Errorf("%q reads as %+v", name, got)
		}
	}
}
