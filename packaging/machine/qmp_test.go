package machine_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"sync"
)

// qmp is QEMU's control connection (QEMU Machine Protocol, docs/interop/qmp-spec).
type qmp struct {
	conn    net.Conn
	replies chan qmpMessage

	mu     sync.Mutex
	events []qmpMessage
}

type qmpMessage struct {
	Event  string
	Data   map[string]any
	Return json.RawMessage
	Error  *struct{ Class, Desc string }
}

// newQMP takes over a connection and leaves the negotiation behind.
func newQMP(conn net.Conn) (*qmp, error) {
	q := &qmp{conn: conn, replies: make(chan qmpMessage, 1)}
	lines := bufio.NewReader(conn)
	if _, err := lines.ReadBytes('\n'); err != nil { // the greeting
		return nil, fmt.Errorf("cannot talk to QEMU: %w", err)
	}
	go q.read(lines) // ends with the connection, which QEMU's end closes
	return q, q.do("qmp_capabilities", nil)
}

func (q *qmp) read(lines *bufio.Reader) {
	defer close(q.replies)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		var m qmpMessage
		switch {
		case json.Unmarshal(line, &m) != nil:
		case m.Event != "":
			q.mu.Lock()
			q.events = append(q.events, m)
			q.mu.Unlock()
		default:
			q.replies <- m
		}
	}
}

// do carries out one command.
func (q *qmp) do(command string, arguments any) error {
	request := map[string]any{"execute": command}
	if arguments != nil {
		request["arguments"] = arguments
	}
	line, err := json.Marshal(request)
	if err != nil {
		return err
	}
	if _, err := q.conn.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("cannot tell QEMU %s: %w", command, err)
	}
	m, ok := <-q.replies
	if ok && m.Error != nil {
		return fmt.Errorf("cannot tell QEMU %s: %s", command, m.Error.Desc)
	}
	return nil
}

// keys presses keys together: "ctrl", "alt", "delete".
func (q *qmp) keys(names ...string) error {
	var list []map[string]string
	for _, n := range names {
		list = append(list, map[string]string{"type": "qcode", "data": n})
	}
	return q.do("send-key", map[string]any{"keys": list})
}

// reason says why the machine went off: "guest-shutdown", "guest-reset",
// "host-qmp-quit"; "" while it is on.
func (q *qmp) reason() string {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, e := range q.events {
		if reason, ok := e.Data["reason"].(string); ok && e.Event == "SHUTDOWN" {
			return reason
		}
	}
	return ""
}
