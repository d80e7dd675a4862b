package control

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestActStream(t *testing.T) {
	f := &fake{}
	c := client(t, f, RoleOperator)
	var done, other int
	for p, err := range c.Act(t.Context(), ActRequest{Verb: VerbRestart, Units: []string{"web.service"}, NoBlock: true}) {
		if err != nil {
			t.Fatal(err)
		}
		if p.Done && p.Status != nil && p.Status.MainPID == 12 && p.Unit == "web" {
			done++
		} else {
			other++
		}
	}
	if done != 1 || other != 1 || f.acted[0].Units[0] != "web" || !f.acted[0].NoBlock {
		t.Errorf("%d done, %d not; acted %+v", done, other, f.acted)
	}
}

// An error before the first line is a status, one after it is the last line.
func TestStreamErrors(t *testing.T) {
	c := client(t, &fake{}, RoleOperator)
	for _, tt := range []struct {
		units []string
		lines int
	}{{[]string{"nope"}, 0}, {[]string{"web", "nope"}, 2}} {
		var lines int
		var last error
		for _, err := range c.Act(t.Context(), ActRequest{Verb: VerbStart, Units: tt.units}) {
			if last = err; err == nil {
				lines++
			}
		}
		var e *Error
		if !errors.As(last, &e) || e.Code != CodeNoSuchUnit || e.Unit != "nope" || lines != tt.lines {
			t.Errorf("%v: %d lines, then %v", tt.units, lines, last)
		}
	}
}

// A follower gets a line when it comes, and its going ends the backend.
func TestFollow(t *testing.T) {
	gone := make(chan struct{})
	f := &fake{logs: func(ctx context.Context, yield func(LogRecord, error) bool) {
		yield(LogRecord{Text: "first"}, nil)
		<-ctx.Done()
		close(gone)
	}}
	c := client(t, f, RoleOperator)
	ctx, cancel := context.WithCancel(t.Context())
	for rec, err := range c.Logs(ctx, LogQuery{Follow: true}) {
		if err != nil || rec.Text != "first" {
			t.Fatalf("%+v, %v", rec, err)
		}
		break
	}
	cancel()
	select {
	case <-gone:
	case <-time.After(5 * time.Second):
		t.Fatal("the backend does not know that the client has gone")
	}
}

// A stream in which nothing happens yet answers all the same.
func TestSilentStreamHasAHeader(t *testing.T) {
	f := &fake{logs: func(ctx context.Context, _ func(LogRecord, error) bool) { <-ctx.Done() }}
	path, _ := serve(t, f, as(RoleOperator), defaultLimits())
	conn := dialRaw(t, path)
	conn.Write([]byte("GET /v1/logs?follow=true HTTP/1.1\r\nHost: x\r\n\r\n"))
	buf := make([]byte, 64)
	if n, err := conn.Read(buf); err != nil || !strings.HasPrefix(string(buf[:n]), "HTTP/1.1 200") {
		t.Errorf("%q, %v", buf[:n], err)
	}
}

func TestShutdownEndsStreams(t *testing.T) {
	f := &fake{logs: func(ctx context.Context, yield func(LogRecord, error) bool) {
		yield(LogRecord{Text: "first"}, nil)
		<-ctx.Done()
	}}
	path, srv := serve(t, f, as(RoleOperator), defaultLimits())
	c := NewClient(path)
	defer c.Close()
	for range c.Logs(t.Context(), LogQuery{Follow: true}) {
		if err := srv.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func TestMetrics(t *testing.T) {
	c := client(t, &fake{}, RoleReader)
	_, body := request(t, c, "GET /metrics", sample{path: "/metrics"})
	for _, want := range []string{
		`nsinit_unit_state{name="web",state="active",type="service"} 1`,
		`nsinit_unit_state{name="web",state="failed",type="service"} 0`,
		"# TYPE nsinit_unit_restarts_total counter", `nsinit_unit_restarts_total{name="web"} 3`,
		`nsinit_unit_memory_bytes{name="web"} 4096`, `nsinit_unit_cpu_seconds_total{name="web"} 1.5`,
		`nsinit_unit_tasks{name="web"} 1`, "nsinit_manager_restarts_total 2",
	} {
		if !strings.Contains(body, want+"\n") {
			t.Errorf("no %q in\n%s", want, body)
		}
	}
	list, _ := (&fake{}).List(t.Context(), ListQuery{})
	list[0].Name = "a\"b\\c\n"
	open := string(metrics(ManagerStatus{}, list, true))
	for _, want := range []string{"# TYPE nsinit_unit_restarts counter\n", "# UNIT nsinit_unit_cpu_seconds seconds\n", `{name="a\"b\\c\n"} 3`} {
		if !strings.Contains(open, want) {
			t.Errorf("no %q in\n%s", want, open)
		}
	}
	if !strings.HasSuffix(open, "\n# EOF\n") {
		t.Error("does not end in # EOF")
	}
}
