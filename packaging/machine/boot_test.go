package machine_test

import "testing"

func TestBoot(t *testing.T) {
	m := boot(t, image{units: map[string]string{"default": "[unit]\ndescription = \"all\"\n"}}, power{})
	m.until(t, "nsctl status >/dev/null 2>&1")
	t.Log(m.sh(t, "cat /proc/uptime; nsctl status; cat /sys/fs/cgroup/cgroup.controllers /sys/fs/cgroup/nsinit/cgroup.controllers; ps; mount"))
}
