package supervisor

import (
	"testing"

	"github.com/nsinit/nsinit/supervisor/logs"
	"github.com/nsinit/nsinit/supervisor/machine"
)

func TestKeptName(t *testing.T) {
	web := machine.Ref{Unit: "web", Generation: 4}
	for _, n := range []keptName{
		{keptPipe, web, logs.Stdout.String(), 81923},
		{keptPipe, machine.Ref{Unit: "getty@tty1", Generation: 1}, logs.Stderr.String(), 1},
		hookName(web, machine.KindStartPost, 2),
	} {
		if got, ok := parseKeptName(n.String()); !ok || got != n {
			t.Errorf("%s reads as %+v, %v", n, got, ok)
		}
	}
	for _, name := range []string{"", "pipe", "fd/web/x", "fd/web/4/x/1", "pipe/web/x/stdout/1", "pipe/web/4/stdout/-1", "pipe/web/4/stdout/1/2",
		"pipe/web/04/stdout/1", "pipe/web/+4/stdout/1"} {
		if got, ok := parseKeptName(name); ok {
			t.Errorf("%q reads as %+v", name, got)
		}
	}
}
