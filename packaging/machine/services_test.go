package machine_test

import (
	"os"
	"strings"
	"testing"
)

// TestDaemons: Debian's redis and nginx, isolated, on the oldest kernel. Each is
// asked from the network namespace that its mode puts it into, and nobody else
// reaches it.
func TestDaemons(t *testing.T) {
	redis := "[service]\ntype = \"notify\"\nexec_start = \"/usr/bin/redis-server --supervised systemd --dir /var/lib/redis\"\nuser = \"redis\"\n" +
		"[filesystem]\nstate_directory = [{ path = \"redis\", mode = \"0750\" }]\n"
	nginx := "[service]\nexec_start = '/usr/sbin/nginx -e stderr -c /etc/nginx.conf'\n[filesystem]\nstate_directory = \"nginx\"\n"
	conf := "daemon off;\npid /run/nginx.pid;\nuser www-data;\nevents {}\nhttp { access_log off; server { listen 80; return 200 'served\\n'; } }\n"
	m := boot(t, image{
		units: map[string]string{
			"rooted": "[service]\nexec_start = \"/bin/sleep 1000\"\n[filesystem]\nroot_directory = \"/srv/root\"\n",
			"redis":  redis, "beside": shell("exec sleep 1000", "[network]", `mode = "unit:redis"`, "[unit]", `requires = "redis"`, `after = "redis"`),
			"nginx":   nginx + "[network]\nmode = \"path:/run/netns/web\"\n",
			"machine": nginx + "[network]\nmode = \"host\"\n[unit]\nconflicts = \"nginx\"\n",
		},
		list: []string{"file /etc/nginx.conf " + file(t, conf), "file /srv/root/bin/sleep /usr/bin/busybox 0755", "directory /srv/root/proc", "directory /srv/root/dev",
			"directory /srv/root/sys", "directory /srv/root/tmp", "directory /srv/root/run", "directory /srv/root/var/tmp", "directory /srv/root/etc"},
	}, power{})
	// A network for the path mode, with a link between it and the machine's.
	m.sh(t, `mkdir -p /run/netns && touch /run/netns/web && unshare -n sh -c 'ip link set lo up; mount --bind /proc/self/ns/net /run/netns/web' &&
		ip link add web0 type veth && ip addr add 10.9.0.1/24 dev web0 && ip link set web0 up`)
	m.sh(t, `nsenter --net=/run/netns/web sleep 1000 & pid=$!
		until test "$(readlink /proc/$pid/ns/net)" != "$(readlink /proc/self/ns/net)"; do :; done
		ip link set veth0 netns $pid &&
		nsenter --net=/run/netns/web sh -c 'ip addr add 10.9.0.2/24 dev veth0; ip link set veth0 up'; kill $pid`)
	m.start(t, "redis beside nginx")
	t.Run("private", func(t *testing.T) {
		m.until(t, "nsctl exec redis redis-cli ping | grep -q PONG")
		if a, err := m.run("redis-cli -h 127.0.0.1 ping", patience); err != nil || a.Code == 0 {
			t.Errorf("redis answers the machine, which its network is closed to: %s (%v)", a.Out, err)
		}
	})
	t.Run("unit", func(t *testing.T) { m.until(t, "nsctl exec beside redis-cli ping | grep -q PONG") })
	t.Run("path", func(t *testing.T) {
		m.until(t, "wget -q -O - http://10.9.0.2/ | grep -q served")
	})
	t.Run("host", func(t *testing.T) {
		m.start(t, "machine")
		m.until(t, "wget -q -O - http://127.0.0.1/ | grep -q served")
	})
	t.Run("root_directory", func(t *testing.T) { m.start(t, "rooted") }) // in an initramfs, which pivot_root(2) cannot leave
	t.Run("isolated", func(t *testing.T) {
		for _, kind := range []string{"mnt", "pid", "ipc", "uts", "cgroup", "net"} {
			if m.sh(t, "readlink /proc/self/ns/"+kind) == m.sh(t, "readlink /proc/"+m.field(t, "redis", "main_pid")+"/ns/"+kind) {
				t.Errorf("redis has the machine's %s namespace", kind)
			}
		}
	})
	t.Run("persists", func(t *testing.T) {
		m.sh(t, "nsctl exec redis redis-cli set key value && nsctl exec redis redis-cli save && nsctl restart redis")
		if got := m.until(t, "nsctl exec redis redis-cli get key"); !strings.Contains(got, "value") {
			t.Errorf("key is %q after a restart, want value", got)
		}
	})
}

// file makes a file for a list to take.
func file(t *testing.T, text string) string {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}
