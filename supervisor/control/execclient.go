package control

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"syscall"
)

// Size is that of a terminal.
type Size struct{ Rows, Columns uint16 }

// ExecIO is what a command of Client.Exec is connected to. Nil members are
// left out: no Stdin is empty input.
type ExecIO struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Resize         <-chan Size
	Signals        <-chan syscall.Signal
}

// Exec runs a command inside a unit and gives how it ended. A goroutine may be
// left reading Stdin when it returns, since a terminal's read cannot be
// interrupted.
func (c *Client) Exec(ctx context.Context, req ExecRequest, std ExecIO) (ExecExit, error) {
	resp, err := c.send(ctx, http.MethodPost, unitPath(req.Unit, "/exec"), req,
		http.Header{"Connection": {"Upgrade"}, "Upgrade": {execProtocol}})
	if err != nil {
		return ExecExit{}, err
	}
	conn, ok := resp.Body.(io.ReadWriteCloser)
	if resp.StatusCode != http.StatusSwitchingProtocols || !ok {
		resp.Body.Close()
		return ExecExit{}, fmt.Errorf("cannot exec: the server answered %s", resp.Status)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	x := newExecClient(newFramer(bufio.NewReaderSize(conn, frameMax), conn))
	defer x.finish()
	go x.sendInput(std.Stdin)
	go x.sendEvents(std.Resize, std.Signals)
	exit, err := x.receive(std)
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return exit, err
}

// execClient is the client's end of a frame stream.
type execClient struct {
	f    *framer
	done chan struct{}

	mu     sync.Mutex
	more   sync.Cond
	window int // bytes of input that the server will take now; -1 is over
}

func newExecClient(f *framer) *execClient {
	x := &execClient{f: f, done: make(chan struct{}), window: execWindow}
	x.more.L = &x.mu
	return x
}

// receive copies output until the exit frame.
func (x *execClient) receive(std ExecIO) (ExecExit, error) {
	var exit ExecExit
	for {
		kind, data, err := x.f.read()
		if err != nil {
			return exit, fmt.Errorf("cannot follow the command: the connection ended: %w", err)
		}
		switch kind {
		case frameStdout:
			err = writeTo(std.Stdout, data)
		case frameStderr:
			err = writeTo(std.Stderr, data)
		case frameWindow:
			if len(data) == 4 {
				x.widen(int(binary.BigEndian.Uint32(data)))
			}
		case frameExit:
			return exit, json.Unmarshal(data, &exit)
		}
		if err != nil {
			return exit, fmt.Errorf("cannot write the command's output: %w", err)
		}
	}
}

func writeTo(w io.Writer, data []byte) error {
	if w == nil {
		return nil
	}
	_, err := w.Write(data)
	return err
}

// sendInput sends stdin as far as the window allows, then its end.
func (x *execClient) sendInput(r io.Reader) {
	buf := make([]byte, frameMax/2)
	for r != nil {
		n, err := r.Read(buf)
		if n > 0 && (!x.reserve(n) || x.f.write(frameStdin, buf[:n]) != nil) {
			return
		}
		if err != nil { // whatever it is, no more input comes
			break
		}
	}
	x.f.write(frameStdin, nil)
}

func (x *execClient) sendEvents(resize <-chan Size, signals <-chan syscall.Signal) {
	for {
		select {
		case <-x.done:
			return
		case s := <-resize:
			x.f.write(frameResize, resizeData(s.Rows, s.Columns))
		case sig := <-signals:
			x.f.write(frameSignal, []byte{byte(sig)})
		}
	}
}

func (x *execClient) reserve(n int) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	for x.window >= 0 && x.window < n {
		x.more.Wait()
	}
	if x.window < 0 {
		return false
	}
	x.window -= n
	return true
}

func (x *execClient) widen(n int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.window += n
	x.more.Signal()
}

func (x *execClient) finish() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.window = -1
	x.more.Broadcast()
	close(x.done)
}
