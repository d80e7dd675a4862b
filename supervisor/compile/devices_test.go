package compile

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nsinit/nsinit/isolate"
	"github.com/nsinit/nsinit/unit"
)

// The devices of this machine are found by class, by number and by path.
func TestGatherDevices(t *testing.T) {
	rule := func(s string) unit.DeviceRule {
		r, err := unit.ParseDeviceAllow(s)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	for _, text := range []string{"char-mem", "char-1", "char-m?m rw", "char-*", "/dev/null"} {
		list, err := gatherDevices([]unit.DeviceRule{rule(text)})
		if err != nil {
			t.Fatal(err)
		}
		c := &compiler{facts: Facts{Devices: list}}
		var null *Device
		for _, d := range c.devicesOf(rule(text)) {
			if d.Path == "/dev/null" {
				null = &d
			}
			if d.Node.Block || text != "char-*" && d.Node.Major != 1 {
				t.Errorf("%s: %+v", text, d)
			}
		}
		if null == nil || null.Node.Major != 1 || null.Node.Minor != 3 {
			t.Errorf("%s: /dev/null is %+v", text, null)
		}
	}
	if list, err := gatherDevices([]unit.DeviceRule{rule("/dev/nosuch"), rule("/dev/shm"), rule("char-pts")}); err != nil || len(list) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
	c := &compiler{facts: testFacts()}
	if list := c.devicesOf(rule("char-nosuch")); len(list) != 0 {
		t.Errorf("a class that is not there: %+v", list)
	}
}

func TestReadDrivers(t *testing.T) {
	name := write(t, filepath.Join(t.TempDir(), "devices"), "Character devices:\n  1 mem\n  4 tty\n  4 ttyS\n  5 /dev/tty\n\nBlock devices:\n  7 loop\n")
	got, err := readDrivers(name)
	want := map[string][]string{"char 1": {"mem"}, "char 4": {"tty", "ttyS"}, "char 5": {"tty"}, "block 7": {"loop"}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
}

// What is allowed one way is the service's own node.
func TestAllowed(t *testing.T) {
	node := isolate.DeviceNode{Major: 4, Minor: 64, Mode: 0o660, GID: 20}
	for mode, a := range map[uint32]access{0o440: {read: true}, 0o220: {write: true}, 0: {}} {
		a.Device = Device{Path: "/dev/ttyS0", Node: node}
		d, err := a.device()
		if err != nil || d.Own == nil || d.Own.Mode != mode || d.Own.GID != 20 {
			t.Errorf("%+v: %+v, %v", a, d, err)
		}
	}
}
