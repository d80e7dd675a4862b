package control

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

const (
	openMetrics = "application/openmetrics-text; version=1.0.0; charset=utf-8"
	plainText   = "text/plain; version=0.0.4; charset=utf-8"
)

// getMetrics answers in OpenMetrics 1.0, or in the older text format to a
// client that does not ask for OpenMetrics.
func (s *Server) getMetrics(w *reply, r *http.Request) error {
	if err := noBody(w, r); err != nil {
		return err
	}
	list, err := s.cfg.Backend.List(r.Context(), ListQuery{})
	if err != nil {
		return err
	}
	m, err := s.cfg.Backend.Manager(r.Context())
	if err != nil {
		return err
	}
	kind, open := plainText, strings.Contains(r.Header.Get("Accept"), "application/openmetrics-text")
	if open {
		kind = openMetrics
	}
	writeBody(w, http.StatusOK, kind, metrics(m, list, open))
	return nil
}

func activeStates() []string {
	return []string{"active", "activating", "deactivating", "failed", "inactive", "reloading"}
}

// family is one metric over all units.
type family struct {
	name, unit, kind, help string
	value                  func(UnitListEntry) (string, bool)
}

func families() []family {
	number := func(n uint64) (string, bool) { return strconv.FormatUint(n, 10), n != 0 }
	return []family{
		{"nsinit_unit_restarts", "", "counter", "Automatic restarts since the unit was loaded.",
			func(e UnitListEntry) (string, bool) { return strconv.Itoa(e.Restarts), true }},
		{"nsinit_unit_memory_bytes", "bytes", "gauge", "Memory of the unit's cgroup.",
			func(e UnitListEntry) (string, bool) { return number(e.MemoryCurrent) }},
		{"nsinit_unit_cpu_seconds", "seconds", "counter", "CPU time of the unit's cgroup in its present start.",
			func(e UnitListEntry) (string, bool) { return seconds(e.CPUUsageNsec), e.ActiveState == "active" }},
		{"nsinit_unit_tasks", "", "gauge", "Tasks in the unit's cgroup.",
			func(e UnitListEntry) (string, bool) { return number(e.Tasks) }},
		{"nsinit_unit_network_receive_bytes", "bytes", "counter", "Bytes that the unit's own links have received.",
			func(e UnitListEntry) (string, bool) { return number(e.NetworkReceiveBytes) }},
		{"nsinit_unit_network_transmit_bytes", "bytes", "counter", "Bytes that the unit's own links have sent.",
			func(e UnitListEntry) (string, bool) { return number(e.NetworkTransmitBytes) }},
		{"nsinit_unit_state_change_timestamp_seconds", "seconds", "gauge", "When the unit's state last changed.",
			func(e UnitListEntry) (string, bool) {
				return seconds(uint64(e.StateSinceUsec) * 1000), e.StateSinceUsec > 0
			}},
	}
}

// metrics renders the exposition. open is OpenMetrics, where a counter's TYPE
// lacks the _total that its samples have, and an EOF line ends it all.
func metrics(m ManagerStatus, list []UnitListEntry, open bool) []byte {
	var b bytes.Buffer
	head(&b, family{name: "nsinit_unit_state", kind: "gauge", help: "1 for the state that the unit is in."}, open)
	for _, e := range list {
		for _, state := range activeStates() {
			fmt.Fprintf(&b, "nsinit_unit_state{name=\"%s\",state=\"%s\",type=\"%s\"} %d\n",
				label(e.Name), state, label(e.Kind), oneIf(e.ActiveState == state))
		}
	}
	for _, f := range families() {
		head(&b, f, open)
		for _, e := range list {
			if v, ok := f.value(e); ok {
				fmt.Fprintf(&b, "%s{name=\"%s\"} %s\n", f.sample(), label(e.Name), v)
			}
		}
	}
	restarts := family{name: "nsinit_manager_restarts", kind: "counter", help: "Restarts of the manager itself."}
	head(&b, restarts, open)
	fmt.Fprintf(&b, "%s %d\n", restarts.sample(), m.ManagerRestarts)
	if open {
		b.WriteString("# EOF\n")
	}
	return b.Bytes()
}

func (f family) sample() string {
	if f.kind == "counter" {
		return f.name + "_total"
	}
	return f.name
}

func head(b *bytes.Buffer, f family, open bool) {
	name := f.sample()
	if open {
		name = f.name
	}
	fmt.Fprintf(b, "# TYPE %s %s\n", name, f.kind)
	if open && f.unit != "" {
		fmt.Fprintf(b, "# UNIT %s %s\n", name, f.unit)
	}
	fmt.Fprintf(b, "# HELP %s %s\n", name, f.help)
}

// label escapes a label's value.
func label(s string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s)
}

func seconds(nsec uint64) string {
	return strconv.FormatFloat(float64(nsec)/1e9, 'f', -1, 64)
}

func oneIf(b bool) int {
	if b {
		return 1
	}
	return 0
}
