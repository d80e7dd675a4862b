package machine_test

import (
	"strings"
	"testing"
	"time"
)

// TestFaults spoils a machine from the rescue shell, which comes before anything
// else, and watches what becomes of it.
func TestFaults(t *testing.T) {
	m := newMachine(t, image{
		units: map[string]string{"one": service},
	})
	m.on(t, power{append: "nsinit.rescue loglevel=7"})
	m.says(t, "nsinit rescue # ", 0)
	steps := func(name string, test func(*testing.T)) {
		t.Helper()
		if !t.Failed() { // each begins where the one before it ended
			t.Run(name, test)
		}
	}
	steps("orphans", func(t *testing.T) {
		// What the shell loses becomes process 1's, without a reaper between.
		began := time.Now()
		m.typed(t, "hundred() { for n in $(seq 100); do : & done; }; for n in $(seq 100); do (hundred); done")
		t.Logf("10000 orphans in %v", time.Since(began).Round(time.Second))
		if got := m.typed(t, `awk '$3 == "Z"' /proc/[0-9]*/stat | wc -l`); !strings.Contains(got, "\n0\r") {
			t.Errorf("zombies are left: %q", got)
		}
	})
	steps("manager that exits at once", func(t *testing.T) {
		m.typed(t, `cp /usr/sbin/nsinit /good; rm /usr/sbin/nsinit; printf '#!/bin/sh\nexit 3\n' >/usr/sbin/nsinit; chmod 755 /usr/sbin/nsinit`)
		if said := m.rescued(t); !strings.Contains(said, "exit status 3") {
			t.Errorf("the console does not say how the manager ended:\n%s", said)
		}
		m.typed(t, "rm /usr/sbin/nsinit; cp /good /usr/sbin/nsinit; chmod 755 /usr/sbin/nsinit")
	})
	steps("read-only run", func(t *testing.T) {
		m.typed(t, "mount -o remount,ro /run")
		if said := m.rescued(t); !strings.Contains(said, "cannot make /run/nsinit: mkdir /run/nsinit: read-only file system") {
			t.Errorf("the console does not say what is wrong with /run:\n%s", said)
		}
		m.typed(t, "mount -o remount,rw /run")
	})
	steps("no unit directory", func(t *testing.T) {
		m.typed(t, "mv /etc/nsinit/units /etc/nsinit/away")
		// The shell's end takes its terminal away; the console can be opened anew.
		m.typed(t, `(trap "" HUP; until nsctl status; do sleep 0.2; done; echo manager" answers" >/dev/console) >/dev/null 2>&1 &`)
		from := len(m.serial())
		m.leave(t)
		m.says(t, "manager answers", from)
		m.ctrlAltDel(t)
	})
	for _, boot := range []struct{ name, words, says, next string }{
		{"no such unit to aim at", "nsinit.unit=nowhere", "] Cannot start nowhere, at which this boot aims: ", "Reached target default."},
		{"no such root", "root=/dev/nowhere rootwait=1", "rescue: no shell, because root has no password", ""},
		{"a shell without one", "root=/dev/nowhere rootwait=1 nsinit.rescue=shell", "nsinit rescue # ", ""},
	} {
		steps(boot.name, func(t *testing.T) {
			from := len(m.serial())
			m.on(t, power{append: boot.words + " loglevel=7"})
			at := m.says(t, boot.says, from)
			if boot.next != "" {
				m.says(t, boot.next, at)
			}
			m.ctrlAltDel(t)
		})
	}
}

// ctrlAltDel ends the machine as whoever stands before it would: the kernel may
// not have found its keyboard yet when the first line is on the console.
func (m *machine) ctrlAltDel(t *testing.T) {
	t.Helper()
	m.off = true
	for range int(patience / time.Second) {
		m.qmp.keys("ctrl", "alt", "delete") // fails if the machine goes off meanwhile
		select {
		case <-m.ended:
			if reason := m.qmp.reason(); reason != "guest-reset" {
				t.Errorf("the machine went off by %q, want guest-reset", reason)
			}
			return
		case <-time.After(time.Second):
		}
	}
	t.Fatalf("the machine is still on after %v of ctrl-alt-del", patience)
}

// leave ends the rescue shell.
func (m *machine) leave(t *testing.T) {
	t.Helper()
	if _, err := m.console.Write([]byte("exit\n")); err != nil {
		t.Fatal(err)
	}
}

// rescued ends the rescue shell, waits until there is another, and gives what
// was said in between.
func (m *machine) rescued(t *testing.T) string {
	t.Helper()
	from := len(m.serial())
	m.leave(t)
	end := m.says(t, "nsinit rescue # ", m.says(t, "cannot be kept running", from))
	return m.serial()[from:end]
}
