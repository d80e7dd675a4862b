package control

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// drainQuiet is how long output may be silent after the command has ended
// before it counts as complete: something left in the background may hold it
// open for ever.
const drainQuiet = 500 * time.Millisecond

// postExec starts the command, then turns the connection into a frame stream.
// What fails before the command runs is an ordinary reply.
func (s *Server) postExec(w *reply, r *http.Request) error {
	if r.Header.Get("Upgrade") != execProtocol {
		return badRequest("cannot exec without the header Upgrade: %s", execProtocol)
	}
	req, err := execRequest(w, r)
	if err != nil {
		return err
	}
	proc, err := s.cfg.Backend.Exec(r.Context(), req)
	if err != nil {
		return err
	}
	defer proc.Close()
	conn, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return err
	}
	defer conn.Close()
	s.execs.Add(1)
	defer s.execs.Done()
	conn.SetDeadline(time.Time{})
	if _, err := fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", execProtocol); err != nil {
		return nil
	}
	// Shutdown hangs up. Otherwise there is no deadline: a terminal under ^S
	// and a pager that nobody scrolls are not slow readers.
	stop := context.AfterFunc(s.ctx, func() { proc.Close(); conn.Close() })
	defer stop()
	newSession(newFramer(buf.Reader, conn), proc, conn).run()
	return nil
}

// execRequest decodes and checks what does not need the unit.
func execRequest(w *reply, r *http.Request) (ExecRequest, error) {
	var req ExecRequest
	if err := readJSON(w, r, &req); err != nil {
		return req, err
	}
	unit, err := unitName(r.PathValue("unit"))
	if err != nil {
		return req, err
	}
	if req.Unit != "" && req.Unit != r.PathValue("unit") && req.Unit != unit {
		return req, badRequest("cannot exec: the body names another unit than the path")
	}
	req.Unit = unit
	if len(req.Argv) == 0 || req.Argv[0] == "" {
		return req, badRequest("cannot exec: no command")
	}
	for _, word := range append(append([]string{req.User, req.Directory}, req.Argv...), req.Environment...) {
		if strings.ContainsRune(word, 0) {
			return req, badRequest("cannot exec: an argument has a NUL byte")
		}
	}
	for _, e := range req.Environment {
		if name, _, ok := strings.Cut(e, "="); !ok || name == "" {
			return req, badRequest("cannot take %q as environment: NAME=value", clip(e, 60))
		}
	}
	req.AllowRoot = PeerFrom(r.Context()).Role >= RoleAdmin
	if !req.AllowRoot && (req.Privileged || req.User != "") {
		return req, &Error{Code: CodeForbidden, Unit: unit, Message: "cannot exec as another user or with more privileges: it needs admin",
			Hint: "leave --user and --privileged out, or run it as root"}
	}
	return req, nil
}

// session moves bytes between a client and a command.
type session struct {
	f     *framer
	proc  ExecProcess
	conn  net.Conn
	stdin *inputQueue

	moved   atomic.Int64 // counts output reads, to tell silence from work
	writing atomic.Int32 // output frames being written
}

func newSession(f *framer, proc ExecProcess, conn net.Conn) *session {
	return &session{f: f, proc: proc, conn: conn, stdin: newInputQueue()}
}

// run returns when the command has ended and its output is sent, or the client
// has gone.
func (s *session) run() {
	var output, input sync.WaitGroup
	output.Go(func() { s.copyOut(frameStdout, s.proc.Stdout()) })
	if stderr := s.proc.Stderr(); stderr != nil {
		output.Go(func() { s.copyOut(frameStderr, stderr) })
	}
	input.Go(s.feed)
	input.Go(func() {
		s.readFrames()
		s.proc.Close() // the client hung up, or the session is over
	})
	exit, err := s.proc.Wait()
	if err != nil {
		exit = ExecExit{Code: 125, Error: asError(err)}
	}
	s.drain(&output)
	if data, err := json.Marshal(exit); err == nil {
		s.f.write(frameExit, data)
	}
	s.proc.Close()
	s.conn.Close() // ends readFrames
	input.Wait()
	output.Wait()
}

// drain waits until output has ended, or nothing more comes.
func (s *session) drain(output *sync.WaitGroup) {
	done := make(chan struct{})
	go func() { output.Wait(); close(done) }()
	tick := time.NewTicker(drainQuiet)
	defer tick.Stop()
	for last := int64(-1); ; {
		select {
		case <-done:
			return
		case <-tick.C:
			now := s.moved.Load()
			if now == last && s.writing.Load() == 0 {
				return
			}
			last = now
		}
	}
}

func (s *session) copyOut(kind byte, r io.Reader) {
	buf := make([]byte, frameMax/2)
	for {
		n, err := r.Read(buf)
		s.moved.Add(1)
		if n > 0 && s.send(kind, buf[:n]) != nil {
			s.proc.Close()
			return
		}
		if err != nil {
			return
		}
	}
}

func (s *session) send(kind byte, data []byte) error {
	s.writing.Add(1)
	defer s.writing.Add(-1)
	return s.f.write(kind, data)
}

// readFrames obeys the client until it hangs up or breaks the protocol.
func (s *session) readFrames() {
	defer s.stdin.close()
	for {
		kind, data, err := s.f.read()
		if err != nil {
			return
		}
		switch kind {
		case frameStdin:
			if !s.stdin.put(data) {
				return
			}
		case frameResize:
			if len(data) == 4 {
				s.proc.Resize(binary.BigEndian.Uint16(data), binary.BigEndian.Uint16(data[2:]))
			}
		case frameSignal:
			if len(data) == 1 {
				s.proc.Signal(syscall.Signal(data[0]))
			}
		default:
			return
		}
	}
}

// feed writes input to the command, and tells the client how much more it may
// send. Input that the command does not take any more is dropped, as a shell's
// pipe would.
func (s *session) feed() {
	stdin := s.proc.Stdin()
	defer stdin.Close()
	var failed error
	for {
		data, ok := s.stdin.take()
		if !ok {
			return
		}
		if failed == nil {
			_, failed = stdin.Write(data)
		}
		s.stdin.release(len(data))
		s.f.writeUint32(frameWindow, uint32(len(data)))
	}
}

// inputQueue holds input between the reading loop, which must never block, and
// the command. It has at most execWindow bytes.
type inputQueue struct {
	mu    sync.Mutex
	ready sync.Cond
	data  []byte
	busy  int  // bytes taken and not released
	ended bool // no more input comes
}

func newInputQueue() *inputQueue {
	q := &inputQueue{}
	q.ready.L = &q.mu
	return q
}

// put adds input, or with no data ends it; false means that the client sent
// more than it may.
func (q *inputQueue) put(data []byte) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.data)+q.busy+len(data) > execWindow || q.ended && len(data) > 0 {
		return false
	}
	q.data = append(q.data, data...)
	q.ended = q.ended || len(data) == 0
	q.ready.Signal()
	return true
}

func (q *inputQueue) close() {
	q.put(nil)
}

// take waits for input; false is its end.
func (q *inputQueue) take() ([]byte, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.data) == 0 && !q.ended {
		q.ready.Wait()
	}
	data := q.data
	q.data, q.busy = nil, q.busy+len(data)
	return data, len(data) > 0
}

func (q *inputQueue) release(n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.busy -= n
}
