package control

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// sample is a request that succeeds for who may make it.
type sample struct{ path, body string }

func samples() map[string]sample {
	return map[string]sample{
		"GET /v1/version":                   {"/v1/version", ""},
		"GET /v1/openapi.json":              {"/v1/openapi.json", ""},
		"GET /metrics":                      {"/metrics", ""},
		"GET /v1/manager":                   {"/v1/manager", ""},
		"GET /v1/units":                     {"/v1/units?pattern=w*&state=active", ""},
		"GET /v1/jobs":                      {"/v1/jobs", ""},
		"GET /v1/startup":                   {"/v1/startup", ""},
		"GET /v1/network":                   {"/v1/network", ""},
		"GET /v1/unit-files":                {"/v1/unit-files", ""},
		"GET /v1/units/{unit}":              {"/v1/units/web.service", ""},
		"GET /v1/units/{unit}/dependencies": {"/v1/units/web/dependencies?reverse=true", ""},
		"GET /v1/units/{unit}/files":        {"/v1/units/web/files", ""},
		"GET /v1/units/{unit}/plan":         {"/v1/units/web/plan", ""},
		"GET /v1/events":                    {"/v1/events?unit=web", ""},
		"GET /v1/logs":                      {"/v1/logs?unit=web&last=1", ""},
		"POST /v1/actions":                  {"/v1/actions", `{"verb":"start","units":["web"]}`},
		"POST /v1/kill":                     {"/v1/kill", `{"unit":"web","signal":1}`},
		"POST /v1/reset-failed":             {"/v1/reset-failed", `{"units":[]}`},
		"POST /v1/reload":                   {"/v1/reload", `{}`},
		"POST /v1/enable":                   {"/v1/enable", `{"units":["web"],"now":true}`},
		"POST /v1/disable":                  {"/v1/disable", `{"units":["web"]}`},
		"POST /v1/mask":                     {"/v1/mask", `{"units":["web"]}`},
		"POST /v1/unmask":                   {"/v1/unmask", `{"units":["web"]}`},
		"POST /v1/machine/{action}":         {"/v1/machine/poweroff", `{"at_usec":5,"message":"m"}`},
		"POST /v1/units/{unit}/exec":        {"/v1/units/web/exec", `{"unit":"web","argv":["true"]}`},
	}
}

// request makes one, and gives the status and the body.
func request(t *testing.T, c *Client, pattern string, s sample) (int, string) {
	t.Helper()
	method, _, _ := strings.Cut(pattern, " ")
	req, err := http.NewRequest(method, "http://x"+s.path, strings.NewReader(s.body))
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasSuffix(pattern, "/exec") {
		req.Header.Set("Connection", "Upgrade")
		req.Header.Set("Upgrade", execProtocol)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// exitingFake answers exec with a command that ends at once.
func exitingFake() *fake {
	return &fake{proc: func(ExecRequest) ExecProcess {
		p := newFakeProc()
		p.finish(ExecExit{})
		return p
	}}
}

// Every route against every role. What is allowed is written out here a second
// time, so that a change of the table has to be meant.
func TestAccessMatrix(t *testing.T) {
	reader := []string{"GET /v1/version", "GET /v1/openapi.json", "GET /metrics", "GET /v1/manager", "GET /v1/units",
		"GET /v1/unit-files", "GET /v1/jobs", "GET /v1/startup", "GET /v1/network", "GET /v1/units/{unit}", "GET /v1/units/{unit}/dependencies", "GET /v1/events"}
	admin := []string{"POST /v1/enable", "POST /v1/disable", "POST /v1/mask", "POST /v1/unmask", "POST /v1/machine/{action}"}
	for role := RoleNone; role <= RoleAdmin; role++ {
		c := client(t, exitingFake(), role)
		for _, rt := range routes() {
			s, ok := samples()[rt.pattern]
			if !ok {
				t.Errorf("route %q has no sample request", rt.pattern)
				continue
			}
			want := role == RoleAdmin || role == RoleOperator && !slices.Contains(admin, rt.pattern) ||
				role == RoleReader && slices.Contains(reader, rt.pattern)
			status, body := request(t, c, rt.pattern, s)
			if got := status < 400; got != want || !got && status != http.StatusForbidden {
				t.Errorf("%s as %s: status %d, allowed should be %v: %s", rt.pattern, role, status, want, body)
			}
		}
	}
}

func TestEveryRouteHasARow(t *testing.T) {
	access := accessTable()
	for _, rt := range routes() {
		if _, ok := access[rt.pattern]; !ok {
			t.Errorf("route %q is not in accessTable", rt.pattern)
		}
		delete(access, rt.pattern)
	}
	for pattern := range access {
		t.Errorf("accessTable has %q, which is no route", pattern)
	}
}

func TestUnknownPath(t *testing.T) {
	for role, want := range map[Role]int{RoleNone: 403, RoleReader: 404, RoleAdmin: 404} {
		c := client(t, &fake{}, role)
		for _, pattern := range []string{"GET /", "GET /v2/units", "DELETE /v1/units/web", "POST /v1/units"} {
			_, path, _ := strings.Cut(pattern, " ")
			if status, body := request(t, c, pattern, sample{path: path}); status != want {
				t.Errorf("%s as %s: %d %s, want %d", pattern, role, status, body, want)
			}
		}
	}
}

func TestReaderSeesNoSecrets(t *testing.T) {
	c := client(t, &fake{}, RoleReader)
	for _, p := range []string{"GET /v1/units/{unit}", "GET /v1/events"} {
		_, body := request(t, c, p, samples()[p])
		if strings.Contains(body, "secret") || strings.Contains(body, "password") {
			t.Errorf("%s shows a reader: %s", p, body)
		}
	}
	op := client(t, &fake{}, RoleOperator)
	if _, body := request(t, op, "GET /x", sample{path: "/v1/units/web"}); !strings.Contains(body, "--password secret") {
		t.Errorf("an operator does not see command lines: %s", body)
	}
}

func TestExecAsOperator(t *testing.T) {
	const p = "POST /v1/units/{unit}/exec"
	f := exitingFake()
	c := client(t, f, RoleOperator)
	for _, body := range []string{`{"argv":["id"],"user":"root"}`, `{"argv":["id"],"privileged":true}`} {
		if status, text := request(t, c, p, sample{"/v1/units/web/exec", body}); status != 403 {
			t.Errorf("%s: %d %s", body, status, text)
		}
	}
	if status, text := request(t, c, p, sample{"/v1/units/web/exec", `{"argv":["id"]}`}); status != 101 {
		t.Fatalf("%d %s", status, text)
	}
	if f.execs[0].AllowRoot {
		t.Error("an operator's command may be root")
	}
	if _, err := client(t, f, RoleAdmin).Exec(t.Context(), ExecRequest{Unit: "web", Argv: []string{"id"}, User: "root"}, ExecIO{}); err != nil {
		t.Fatal(err)
	}
	if !f.execs[1].AllowRoot {
		t.Error("an admin's command may not be root")
	}
}

// The credentials are the kernel's: a process of another uid, which binds its
// own end to a name that looks like root's, is seen as what it is.
func TestPeerCredentials(t *testing.T) {
	if os.Getenv("CONTROL_TEST_SOCKET") != "" {
		c := NewClient(os.Getenv("CONTROL_TEST_SOCKET"))
		if _, err := c.Manager(context.Background()); err != nil {
			t.Fatal(err)
		}
		return
	}
	if os.Getuid() != 0 {
		t.Skip("needs root to become another user")
	}
	f := &fake{}
	path, _ := serve(t, f, as(RoleReader), defaultLimits())
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	bin := socketDir(t) + "/peer" // the test's own binary may lie where others cannot go
	if err := os.WriteFile(bin, self, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, "-test.run=^TestPeerCredentials$")
	cmd.Dir = "/"
	cmd.Env = []string{"CONTROL_TEST_SOCKET=" + path}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 4711, Gid: 4712, Groups: []uint32{4713, 4714}}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	p := f.peers[0]
	if p.UID != 4711 || p.GID != 4712 || p.PID != cmd.Process.Pid || p.Role != RoleReader || !slices.Equal(p.Groups, []uint32{4713, 4714}) {
		t.Errorf("peer is %+v", p)
	}
}

func TestPeerIsNotItsAddress(t *testing.T) {
	f := &fake{}
	path, _ := serve(t, f, func(p Peer) Role {
		if p.UID == 0 && os.Getuid() == 0 || int(p.UID) == os.Getuid() {
			return RoleReader
		}
		return RoleNone
	}, defaultLimits())
	conn, err := dialFrom("@pid=1;uid=0;admin", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "GET /v1/units/web/files HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	answer, _ := io.ReadAll(conn)
	if !strings.HasPrefix(string(answer), "HTTP/1.1 403") {
		t.Errorf("answer: %s", answer)
	}
	_, body, _ := strings.Cut(string(answer), "\r\n\r\n")
	var e errorBody
	if err := json.Unmarshal([]byte(body), &e); err != nil || e.Error.Code != CodeForbidden {
		t.Errorf("body: %s", body)
	}
}
