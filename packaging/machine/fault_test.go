package machine_test

import (
	"strings"
	"testing"
)

// TestFaults spoils a machine from the rescue shell, which comes before anything
// else, and watches what becomes of it.
func TestFaults(t *testing.T) {
	m := newMachine(t, image{
		units: map[string]string{"one": service},
		list:  []string{"file /etc/nsinit/units/broken.toml " + file(t, "[service]\nexec_strat = \"/bin/true\"\n")},
	})
	m.on(t, power{append: "nsinit.rescue"})
	at := m.says(t, "nsinit rescue # ", 0)
	t.Run("orphans", func(t *testing.T) {
		// What the shell loses becomes process 1's, without a reaper between.
		m.typed(t, "/usr/lib/machine/probe orphans 10000 & sleep 1; until grep -q ready /proc/$!/wchan /dev/null; do break; done")
		m.typed(t, "until [ $(ls -d /proc/[0-9]* | wc -l) -lt 100 ]; do sleep 0.2; done; kill $!; wait")
		if got := m.typed(t, `awk '$3 == "Z"' /proc/[0-9]*/stat | wc -l`); !strings.Contains(got, "\n0") {
			t.Errorf("zombies are left: %s", got)
		}
	})
	t.Run("manager that exits at once", func(t *testing.T) {
		m.typed(t, `cp /usr/sbin/nsinit /good; rm /usr/sbin/nsinit; printf '#!/bin/sh\nexit 3\n' >/usr/sbin/nsinit; chmod 755 /usr/sbin/nsinit`)
		at = m.rescued(t, len(m.serial()))
		if said := m.serial(); !strings.Contains(said, "exit status 3") {
			t.Error("the console does not say how the manager ended")
		}
		m.typed(t, "rm /usr/sbin/nsinit; cp /good /usr/sbin/nsinit; chmod 755 /usr/sbin/nsinit")
	})
	t.Run("read-only run", func(t *testing.T) {
		m.typed(t, "mount -o remount,ro /run")
		at = m.rescued(t, len(m.serial()))
		if said := m.serial()[at-4000:]; !strings.Contains(said, "/run") || !strings.Contains(said, "read-only") {
			t.Error("the console does not say what is wrong with /run")
		}
		m.typed(t, "mount -o remount,rw /run")
	})
	t.Run("no unit directory", func(t *testing.T) {
		m.typed(t, "mv /etc/nsinit/units /etc/nsinit/away")
		m.leave(t)
		m.says(t, "without", 0)
	})
}

// leave ends the rescue shell.
func (m *machine) leave(t *testing.T) {
	t.Helper()
	if _, err := m.console.Write([]byte("exit\n")); err != nil {
		t.Fatal(err)
	}
}

// rescued ends the rescue shell and waits until there is another.
func (m *machine) rescued(t *testing.T, after int) int {
	t.Helper()
	m.leave(t)
	m.says(t, "cannot be kept running", after)
	return m.says(t, "nsinit rescue # ", after)
}
