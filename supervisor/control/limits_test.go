package control

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func shortLimits() limits {
	return limits{header: 300 * time.Millisecond, body: 300 * time.Millisecond, idle: 300 * time.Millisecond, write: 300 * time.Millisecond}
}

// closedWithin fails unless the server hangs up on conn.
func closedWithin(t *testing.T, conn net.Conn, d time.Duration) string {
	t.Helper()
	conn.SetReadDeadline(time.Now().Add(d))
	data, err := io.ReadAll(conn)
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() {
		t.Fatalf("still open after %v", d)
	}
	return string(data)
}

func TestHalfARequest(t *testing.T) {
	path, _ := serve(t, &fake{}, as(RoleOperator), shortLimits())
	for name, text := range map[string]string{
		"nothing":                 "",
		"half a header":           "GET /v1/manager HTTP/1.1\r\nHost: x\r\n",
		"half a body":             "POST /v1/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
		"a body where none is":    "GET /v1/manager HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
		"a body for nowhere":      "POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
		"a body without a right":  "POST /v1/enable HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
		"nothing after an answer": "GET /v1/version HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			conn := dialRaw(t, path)
			io.WriteString(conn, text)
			closedWithin(t, conn, 3*time.Second)
		})
	}
}

// A byte now and then does not extend a deadline.
func TestDrip(t *testing.T) {
	path, _ := serve(t, &fake{}, as(RoleReader), shortLimits())
	conn := dialRaw(t, path)
	for _, b := range []byte("GET /v1/manager HTTP/1.1\r\nHost: " + strings.Repeat("x", 200)) {
		if _, err := conn.Write([]byte{b}); err != nil {
			return // cut off
		}
		<-time.After(20 * time.Millisecond)
	}
	t.Error("every byte was waited for")
}

// However many half-open connections others have, an admin is answered.
func TestSlowLorisDoesNotStopAdmin(t *testing.T) {
	var first atomic.Bool
	path, _ := serve(t, &fake{}, func(Peer) Role {
		if first.Load() {
			return RoleAdmin
		}
		return RoleReader
	}, defaultLimits())
	var refused int
	for range connsPerUID + 20 {
		conn := dialRaw(t, path)
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\n"); err != nil {
			refused++
		}
	}
	first.Store(true)
	c := NewClient(path)
	defer c.Close()
	for range 200 {
		if _, err := c.Manager(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestConnectionsPerUser(t *testing.T) {
	path, _ := serve(t, &fake{}, as(RoleReader), defaultLimits())
	conns := make([]net.Conn, connsPerUID)
	for i := range conns {
		conns[i] = dialRaw(t, path)
	}
	answer := closedWithin(t, dialRaw(t, path), 3*time.Second)
	if !strings.HasPrefix(answer, "HTTP/1.1 429 ") || !strings.Contains(answer, CodeTooMany) {
		t.Errorf("the connection too many got %q", answer)
	}
	conns[0].Close()
	c := NewClient(path)
	defer c.Close()
	// The server notices the hang-up when it notices it.
	for deadline := time.Now().Add(5 * time.Second); ; {
		_, err := c.Manager(t.Context())
		if err == nil {
			break
		}
		var e *Error
		if errors.As(err, &e) && e.Code != CodeTooMany || time.Now().After(deadline) {
			t.Fatalf("a place was given back, and: %v", err)
		}
	}
}

func TestSizes(t *testing.T) {
	c := client(t, &fake{}, RoleAdmin)
	long := strings.Repeat("x", bodyMax)
	status, body := request(t, c, "POST /v1/reset-failed", sample{"/v1/reset-failed", `{"units":["` + long + `"]}`})
	if status != 400 || !strings.Contains(body, "1 MiB") {
		t.Errorf("body of more than 1 MiB: %d %s", status, clip(body, 200))
	}
	req, _ := http.NewRequest("GET", "http://x/v1/manager", nil)
	req.Header.Set("X-Long", strings.Repeat("x", 17<<10))
	resp, err := c.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("header of more than 16 KiB: %s", resp.Status)
	}
	if status, body := request(t, c, "POST /x", sample{"/v1/reset-failed", `{"units":[` + strings.Repeat(`"web",`, 100000) + `"web"]}`}); status != 200 {
		t.Errorf("body of 600 kB: %d %s", status, clip(body, 200))
	}
}

func TestBadRequests(t *testing.T) {
	c := client(t, &fake{}, RoleAdmin)
	for _, tt := range []struct{ pattern, path, body, want string }{
		{"POST", "/v1/actions", `{"verb":"start","units":["web"],"no_blok":true}`, `unknown field \"no_blok\"`},
		{"POST", "/v1/actions", `{"verb":"start","units":["web"]} {}`, "follows"},
		{"POST", "/v1/actions", `{"verb":"explode","units":["web"]}`, "one of start"},
		{"POST", "/v1/actions", `{"verb":"start"}`, "no unit"},
		{"POST", "/v1/actions", `{"verb":"start","units":["../x"]}`, "name of a unit"},
		{"POST", "/v1/actions", `[`, "decode"},
		{"POST", "/v1/actions", ``, "decode"},
		{"POST", "/v1/reload", `{"now":1}`, "unknown field"},
		{"POST", "/v1/kill", `{"unit":"web","signal":0}`, "1 to 64"},
		{"POST", "/v1/kill", `{"unit":"web","signal":9,"whom":"others"}`, "main, control or all"},
		{"POST", "/v1/units/web/exec", `{"argv":["x"]}`, "Upgrade"},
		{"POST /exec", "/v1/units/web/exec", `{"argv":[]}`, "no command"},
		{"POST /exec", "/v1/units/web/exec", `{"argv":["a\u0000b"]}`, "NUL"},
		{"POST /exec", "/v1/units/web/exec", `{"argv":["a"],"environment":["=x"]}`, "NAME=value"},
		{"POST /exec", "/v1/units/web/exec", `{"argv":["a"],"unit":"db"}`, "another unit"},
		{"GET", "/v1/units?patern=x", "", "parameter"},
		{"GET", "/v1/units?pattern=[", "", "pattern"},
		{"GET", "/v1/units/web%2Fx", "", "name of a unit"},
		{"GET", "/v1/units/web%1b[31m", "", "name of a unit"},
		{"GET", "/v1/logs?grep=(", "", "search"},
		{"GET", "/v1/logs?last=-1", "", "not negative"},
		{"GET", "/v1/logs?last=1&last=2", "", "more than once"},
		{"GET", "/v1/logs?max_priority=9", "", "0 (emerg)"},
		{"GET", "/v1/logs?follow=maybe", "", "true or false"},
		{"GET", "/v1/manager", "{}", "body"},
		{"GET", "/v1/manager?verbose=1", "", "parameter"},
		{"GET", "/v1/units/web?all=true", "", "parameter"},
	} {
		status, body := request(t, c, tt.pattern, sample{tt.path, tt.body})
		if status != 400 || !strings.Contains(body, tt.want) {
			t.Errorf("%s %s %s: %d %s, want 400 and %q", tt.pattern, tt.path, tt.body, status, body, tt.want)
		}
	}
}

// A stream whose client does not read is ended, and the backend with it.
func TestSlowReaderIsDropped(t *testing.T) {
	ended := make(chan struct{})
	f := &fake{logs: func(_ context.Context, yield func(LogRecord, error) bool) {
		defer close(ended)
		for yield(LogRecord{Unit: "web", Text: strings.Repeat("x", 4096)}, nil) {
		}
	}}
	path, _ := serve(t, f, as(RoleOperator), shortLimits())
	conn := dialRaw(t, path)
	io.WriteString(conn, "GET /v1/logs?follow=true HTTP/1.1\r\nHost: x\r\n\r\n")
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Fatal("the backend still yields")
	}
}

// A stream outlives the time of a single write.
func TestStreamRenewsItsTime(t *testing.T) {
	lim := shortLimits()
	f := &fake{logs: func(_ context.Context, yield func(LogRecord, error) bool) {
		for i := range 5 {
			<-time.After(lim.write / 2)
			if !yield(LogRecord{Unit: "web", Text: fmt.Sprint(i)}, nil) {
				return
			}
		}
	}}
	path, _ := serve(t, f, as(RoleOperator), lim)
	c := NewClient(path)
	defer c.Close()
	var got bytes.Buffer
	for rec, err := range c.Logs(t.Context(), LogQuery{Follow: true}) {
		if err != nil {
			t.Fatal(err)
		}
		got.WriteString(rec.Text)
	}
	if got.String() != "01234" {
		t.Errorf("got %q", got.String())
	}
}
