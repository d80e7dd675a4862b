package main_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// imported is a daemon by the unit file of systemd that its package brings.
type imported struct {
	daemon          // client and answer: nil is a daemon that nobody can ask
	profile  string // not what import chooses
	dropIn   string // what is the test's own affair
	outside  bool   // the client is run beside it: the unit lets nothing else be executed
	restarts bool   // what the unit says about a main process that is killed
}

const (
	curlRoot = "curl -sI http://127.0.0.1/ | grep -io '^server: [a-z]*'"
	askDNS   = `exec 3<>/dev/udp/127.0.0.1/53; printf '\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x09localhost\0\0\x01\0\x01' >&3;
dd bs=512 count=1 <&3 2>/dev/null | od -An -v -tx1 | tr -d ' \n' | grep -o 7f000001`
	askMQTT = `exec 3<>/dev/tcp/127.0.0.1/1883; printf '\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01a' >&3; head -c 4 <&3 | od -An -tx1`
	noJobs  = "[filesystem]\ntemporary_file_system = ['/var/spool/cron', '/etc/cron.d']\ninaccessible_paths = '/etc/crontab'\n"
)

func shell(script string) []string { return []string{"bash", "-c", script} }

var importedDaemons = []imported{
	{daemon: daemon{"nginx", "/usr/sbin/nginx", shell(curlRoot), "Server: nginx"}},
	{daemon: daemon{"redis-server", "/usr/bin/redis-server", ask("6379", "PING\\r\\n"), "+PONG"}, outside: true, restarts: true},
	{daemon: daemon{"cron", "/usr/sbin/cron", nil, ""}, profile: "daemon", dropIn: noJobs, restarts: true},
	{daemon: daemon{"memcached", "/usr/bin/memcached", ask("11211", "version\\r\\nquit\\r\\n"), "VERSION"}, restarts: true},
	{daemon: daemon{"vsftpd", "/usr/sbin/vsftpd", ask("21", "QUIT\\r\\n"), "220"}},
	{daemon: daemon{"lighttpd", "/usr/sbin/lighttpd", shell(curlRoot), "Server: lighttpd"}, restarts: true},
	{daemon: daemon{"haproxy", "/usr/sbin/haproxy", shell(`test -S /run/haproxy/admin.sock && echo there`), "there"}, restarts: true},
	{daemon: daemon{"tinyproxy", "/usr/bin/tinyproxy", ask("8888", "GET / HTTP/1.0\\r\\n\\r\\n"), "HTTP/1.0 400"}, profile: "daemon"},
	{daemon: daemon{"dnsmasq", "/usr/sbin/dnsmasq", shell(askDNS), "7f000001"}},
	{daemon: daemon{"mosquitto", "/usr/sbin/mosquitto", shell(askMQTT), " 20 02 00 00"}, restarts: true},
	{daemon: daemon{"unbound", "/usr/sbin/unbound", shell(askDNS), "7f000001"}, restarts: true},
}

// ownVar keeps what the daemons write to /var from the machine's, but for the
// place of the tests.
const ownVar = `mkdir -p @WORK@/var
mount -t tmpfs var @WORK@/var
cd @WORK@/var
mkdir upper work all
mount -t overlay -o lowerdir=/var,upperdir=upper,workdir=work var all
mount --bind $(dirname @WORK@) all$(dirname @WORK@ | cut -c5-)
mount --rbind all /var
cd /`

// TestImportedDaemons runs Debian's daemons by their own unit files, unmodified,
// as import has them: each answers, reloads, comes back when it is killed where
// the unit says so, restarts, and leaves nothing when it is stopped.
func TestImportedDaemons(t *testing.T) {
	needBinaries(t)
	if err := needNetwork(); err != nil {
		t.Fatal(err)
	}
	for _, d := range importedDaemons {
		if _, err := os.Stat(d.program); err != nil {
			t.Fatalf("%s is not installed: packaging/deps.sh nginx redis-server cron memcached vsftpd lighttpd haproxy tinyproxy dnsmasq mosquitto unbound dns-root-data", d.unit)
		}
	}
	in := idleInstance(t, nil)
	var err error
	if in.net, err = newNetHost(in); err != nil {
		t.Fatal(err)
	}
	in.net.script = in.expand(ownVar)
	for _, d := range importedDaemons {
		d.imports(t, in)
	}
	if err := in.start(); err != nil {
		t.Fatal(err)
	}
	for _, d := range importedDaemons {
		t.Run(d.unit, func(t *testing.T) { d.test(t, in) })
	}
}

// imports writes the unit, and prints how much of systemd's it is.
func (d imported) imports(t *testing.T, in *instance) {
	from := strings.TrimSuffix(filepath.Base(d.file(in)), ".toml")
	args := []string{"import", "--json", "-o", in.units(), "/lib/systemd/system/" + from + ".service"}
	if d.profile != "" {
		args = append(args, "--profile", d.profile)
	}
	out, stderr, code := in.nsctl(args...)
	var counts []struct{ Mapped, Skipped, Unsupported int }
	if err := json.Unmarshal([]byte(out), &counts); err != nil || len(counts) != 1 || code != 0 && code != 2 {
		t.Fatalf("nsctl import %s: exit %d: %v: %s%s", from, code, err, out, stderr)
	}
	t.Logf("%s: %d directives mapped, %d skipped, %d unsupported", from, counts[0].Mapped, counts[0].Skipped, counts[0].Unsupported)
	file := d.file(in)
	if err := os.Mkdir(file+".d", 0o755); err != nil {
		t.Fatal(err)
	}
	dropIn := d.dropIn + "[install]\nwanted_by = []\n"
	if err := os.WriteFile(filepath.Join(file+".d", "test.toml"), []byte(dropIn), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, stderr, code := in.nsctl("verify", file); code != 0 {
		t.Errorf("nsctl verify %s: exit %d: %s%s", from, code, out, stderr)
	}
}

// file is the unit's, or its template's.
func (d imported) file(in *instance) string {
	name, _, instance := strings.Cut(d.unit, "@")
	if instance {
		name += "@"
	}
	return filepath.Join(in.units(), name+".toml")
}

func (d imported) test(t *testing.T, in *instance) {
	d.do(t, in, "start")
	before := d.pid(t, in)
	for _, kind := range []string{"mnt", "pid", "ipc", "uts", "cgroup"} {
		ours, _ := os.Readlink("/proc/self/ns/" + kind)
		if its, err := os.Readlink("/proc/" + before + "/ns/" + kind); err != nil || its == ours {
			t.Errorf("the %s namespace of %s is %s, ours %s (%v)", kind, d.unit, its, ours, err)
		}
	}
	text, err := os.ReadFile(d.file(in))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "\nexec_reload = ") {
		d.do(t, in, "reload")
	}
	d.killed(t, in)
	d.do(t, in, "restart")
	forker{daemon: d.daemon}.stop(t, in)
}

// do is a verb after which the daemon answers.
func (d imported) do(t *testing.T, in *instance, verb string) {
	t.Helper()
	if out, stderr, code := in.nsctl(verb, d.unit); code != 0 {
		t.Fatalf("nsctl %s: exit %d: %s%s", verb, code, out, stderr)
	}
	switch {
	case d.outside:
		d.answersOutside(t, in)
	case d.client != nil:
		d.answers(t, in)
	}
	if err := in.await(d.unit, "active_state", "active"); err != nil {
		t.Fatalf("after %s: %v", verb, err)
	}
}

func (d imported) answersOutside(t *testing.T, in *instance) {
	t.Helper()
	err := eventually(strings.Join(d.client, " "), func() (bool, string) {
		out, err := in.net.command(d.client[0], d.client[1:]...).CombinedOutput()
		return err == nil && strings.HasPrefix(string(out), d.answer), string(out)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// killed sees that the unit's word is kept about a main process that is killed.
func (d imported) killed(t *testing.T, in *instance) {
	var pid int
	fmt.Sscan(d.pid(t, in), &pid)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	want := [][2]string{{"active_state", "failed"}}
	if d.restarts {
		want = [][2]string{{"restarts", "1"}, {"sub_state", "running"}}
	}
	for _, w := range want {
		if err := in.await(d.unit, w[0], w[1]); err != nil {
			t.Fatal(err)
		}
	}
}
