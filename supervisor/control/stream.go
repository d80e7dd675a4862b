package control

import (
	"encoding/json"
	"iter"
	"net/http"
	"sync"
	"time"
)

const (
	streamType = "application/x-ndjson"
	// headDelay is how long a stream may be silent before its header is sent
	// all the same, so that a client knows that it was accepted. Until then an
	// error is still a status of its own.
	headDelay = 50 * time.Millisecond
	// flushDelay lets lines that come together leave together.
	flushDelay = 20 * time.Millisecond
)

// streamEnd is the last line of a stream that failed after it began.
type streamEnd struct {
	Error *Error `json:"stream_error"`
}

// stream sends each element as one line of JSON. A client that does not read
// for limits.write is dropped.
func stream[T any](w *reply, seq iter.Seq2[T, error], eager bool) error {
	out := newLineWriter(w, eager)
	defer out.close()
	for v, err := range seq {
		if err != nil {
			return out.fail(err)
		}
		if out.line(v) != nil {
			return nil // the client has gone, or is too slow
		}
	}
	out.end()
	return nil
}

// lineWriter writes lines to w, and flushes from a timer; mu is between the two.
type lineWriter struct {
	w     *reply
	rc    *http.ResponseController
	eager bool
	timer *time.Timer

	mu      sync.Mutex
	begun   bool
	pending bool // the timer runs
	closed  bool
	err     error
}

func newLineWriter(w *reply, eager bool) *lineWriter {
	l := &lineWriter{w: w, rc: http.NewResponseController(w), eager: eager, pending: true}
	l.mu.Lock() // the timer may fire before the field is set
	defer l.mu.Unlock()
	l.timer = time.AfterFunc(headDelay, l.tick)
	return l
}

func (l *lineWriter) tick() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending = false
	if !l.closed {
		l.flush()
	}
}

// flush sends the header and what is buffered. Callers hold mu.
func (l *lineWriter) flush() {
	l.begin()
	if l.err == nil {
		l.err = l.rc.Flush()
	}
}

func (l *lineWriter) begin() {
	l.w.renew()
	if !l.begun {
		l.begun = true
		l.w.Header().Set("Content-Type", streamType)
		l.w.WriteHeader(http.StatusOK)
	}
}

func (l *lineWriter) line(v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.begin()
	if l.err == nil {
		_, l.err = l.w.Write(append(data, '\n'))
	}
	switch {
	case l.eager:
		l.flush()
	case !l.pending:
		l.pending = true
		l.timer.Reset(flushDelay)
	}
	return l.err
}

// fail ends the stream with an error: as a reply of its own if nothing was
// sent yet, else as the last line.
func (l *lineWriter) fail(err error) error {
	l.mu.Lock()
	begun := l.begun
	l.closed = true
	l.mu.Unlock()
	if !begun {
		return err
	}
	l.line(streamEnd{asError(err)})
	return nil
}

// end makes an empty stream one with a header.
func (l *lineWriter) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.begin()
}

// close stops the timer: w is not ours any more once the handler returns.
func (l *lineWriter) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.timer.Stop()
}
