package control

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// execOne runs a command whose other end is the test's.
func execOne(t *testing.T, std ExecIO, body func(p *fakeProc)) (ExecExit, error) {
	t.Helper()
	p := newFakeProc()
	c := client(t, &fake{proc: func(ExecRequest) ExecProcess { return p }}, RoleAdmin)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	go body(p)
	return c.Exec(ctx, ExecRequest{Unit: "web", Argv: []string{"x"}}, std)
}

func TestExecStreams(t *testing.T) {
	in := strings.Repeat("0123456789abcdef", 1<<16) // 1 MiB, four windows
	var out, errOut bytes.Buffer
	exit, err := execOne(t, ExecIO{Stdin: strings.NewReader(in), Stdout: &out, Stderr: &errOut}, func(p *fakeProc) {
		io.Copy(p.stdoutW, p.stdinR)
		io.WriteString(p.stderrW, "warning")
		p.finish(ExecExit{Code: 3})
	})
	if err != nil || exit.Code != 3 {
		t.Errorf("%+v, %v", exit, err)
	}
	if out.String() != in || errOut.String() != "warning" {
		t.Errorf("%d bytes came back, stderr %q", out.Len(), errOut.String())
	}
}

// A command that does not read its input gets signals and sizes all the same.
func TestExecSignalPassesInput(t *testing.T) {
	resize, signals := make(chan Size, 1), make(chan syscall.Signal, 1)
	resize <- Size{50, 132}
	var size Size
	exit, err := execOne(t, ExecIO{Stdin: endless{}, Resize: resize, Signals: signals}, func(p *fakeProc) {
		size = <-p.sizes
		signals <- syscall.SIGINT
		p.finish(ExecExit{Code: 128 + int(<-p.signals), Signal: 2})
	})
	if err != nil || !cmp.Equal(exit, ExecExit{Code: 130, Signal: 2}) || size != (Size{50, 132}) {
		t.Errorf("%+v, %v, size %v", exit, err, size)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// What the command left behind with its output open does not keep the session.
func TestExecBackgroundOutput(t *testing.T) {
	var out bytes.Buffer
	exit, err := execOne(t, ExecIO{Stdout: &out}, func(p *fakeProc) {
		io.WriteString(p.stdoutW, "done")
		p.exit <- ExecExit{}
	})
	if err != nil || exit.Code != 0 || out.String() != "done" {
		t.Errorf("%+v, %v, %q", exit, err, out.String())
	}
}

func TestExecHangupEndsCommand(t *testing.T) {
	p := newFakeProc()
	c := client(t, &fake{proc: func(ExecRequest) ExecProcess { return p }}, RoleAdmin)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { io.WriteString(p.stdoutW, "x"); cancel() }()
	_, err := c.Exec(ctx, ExecRequest{Unit: "web", Argv: []string{"x"}}, ExecIO{})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	select {
	case <-p.closed:
	case <-time.After(5 * time.Second):
		t.Error("the command was not closed")
	}
}

func TestExecErrors(t *testing.T) {
	c := client(t, &fake{}, RoleAdmin)
	for _, tt := range []struct{ unit, cmd, code string }{{"web", "absent", CodeNotFoundIn}, {"nope", "x", CodeNoSuchUnit}} {
		_, err := c.Exec(t.Context(), ExecRequest{Unit: tt.unit, Argv: []string{tt.cmd}}, ExecIO{})
		var e *Error
		if !errors.As(err, &e) || e.Code != tt.code {
			t.Errorf("%+v: %v", tt, err)
		}
	}
}

// A client that breaks the protocol is hung up on.
func TestExecProtocolErrors(t *testing.T) {
	for name, frames := range map[string]string{
		"too long":          "\x00\xff\xff\xff\xff",
		"unknown":           "\x63\x00\x00\x00\x00",
		"server's kind":     "\x05\x00\x00\x00\x00",
		"beyond its window": strings.Repeat("\x00\x00\x01\x00\x00"+strings.Repeat("x", 1<<16), 6),
		"after the end":     "\x00\x00\x00\x00\x00" + "\x00\x00\x00\x00\x01x",
	} {
		t.Run(name, func(t *testing.T) {
			p := newFakeProc()
			path, _ := serve(t, &fake{proc: func(ExecRequest) ExecProcess { return p }}, as(RoleAdmin), defaultLimits())
			conn := dialRaw(t, path)
			io.WriteString(conn, "POST /v1/units/web/exec HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: nsinit-exec/1\r\nContent-Length: 14\r\n\r\n"+`{"argv":["x"]}`)
			io.WriteString(conn, frames)
			select {
			case <-p.closed:
			case <-time.After(5 * time.Second):
				t.Error("the command was not closed")
			}
		})
	}
}

func TestShutdownEndsExec(t *testing.T) {
	p := newFakeProc()
	path, srv := serve(t, &fake{proc: func(ExecRequest) ExecProcess { return p }}, as(RoleAdmin), defaultLimits())
	c := NewClient(path)
	defer c.Close()
	go func() {
		io.WriteString(p.stdoutW, "x")
		srv.Shutdown(context.Background())
	}()
	if exit, err := c.Exec(t.Context(), ExecRequest{Unit: "web", Argv: []string{"x"}}, ExecIO{}); err == nil && exit.Code != 137 {
		t.Errorf("%+v, %v", exit, err)
	}
}
