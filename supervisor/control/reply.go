package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

type errorBody struct {
	Error *Error `json:"error"`
}

// asError turns any error into the API's.
func asError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Code: CodeInternal, Message: err.Error()}
}

// reply is a ResponseWriter that knows how long its client has.
type reply struct {
	http.ResponseWriter
	limits limits
}

// Unwrap is for http.ResponseController.
func (w *reply) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// renew gives the client its time again for what is written next.
func (w *reply) renew() {
	http.NewResponseController(w).SetWriteDeadline(time.Now().Add(w.limits.write))
}

func writeError(w *reply, err error) {
	e := asError(err)
	writeJSON(w, e.status(), errorBody{e})
}

// writeJSON sends a whole reply. The client has its time from here on, not
// from the request: a handler may have waited for long.
func writeJSON(w *reply, status int, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		status, data = http.StatusInternalServerError, []byte(`{"error":{"code":"internal","message":"cannot encode the reply"}}`)
	}
	writeBody(w, status, "application/json", append(data, '\n'))
	return nil
}

func writeBody(w *reply, status int, kind string, data []byte) {
	w.renew()
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("Content-Length", fmt.Sprint(len(data)))
	w.WriteHeader(status)
	w.Write(data)
}

// refusal is a whole HTTP answer, for a connection that is not let in.
func refusal(e *Error) []byte {
	body, _ := json.Marshal(errorBody{e})
	return fmt.Appendf(nil, "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
		e.status(), http.StatusText(e.status()), len(body), body)
}

// readJSON decodes the body into v. It refuses fields that v does not have, and
// anything after the value. The body is read whole, under the deadline that
// guard has set, so that no handler waits for a client.
func readJSON(w *reply, r *http.Request, v any) error {
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodyMax))
	if err != nil {
		w.Header().Set("Connection", "close") // the deadline stays: what is left is not waited for
		return &Error{Code: CodeBadRequest, Message: "cannot read the request: " + err.Error(), Hint: "a body has at most 1 MiB and arrives within 10 s"}
	}
	http.NewResponseController(w).SetReadDeadline(time.Time{})
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return badRequest("cannot decode the request: %v", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return badRequest("cannot decode the request: something follows the JSON value")
	}
	return nil
}

// noBody refuses a body where none belongs.
func noBody(w *reply, r *http.Request) error {
	if r.ContentLength == 0 {
		return nil
	}
	return badRequest("cannot take a body with %s %s", r.Method, r.URL.Path)
}

func badRequest(format string, args ...any) *Error {
	return &Error{Code: CodeBadRequest, Message: fmt.Sprintf(format, args...)}
}

// unitName checks the form of a name, and removes the suffixes that people type
// out of habit.
func unitName(name string) (string, error) {
	short := strings.TrimSuffix(strings.TrimSuffix(name, ".service"), ".target")
	bad := strings.ContainsFunc(short, func(r rune) bool { return r < ' ' || r == 0x7f || r == '/' })
	if short == "" || short == "." || short == ".." || len(short) > 255 || bad {
		return "", badRequest("cannot take %q as the name of a unit: 1 to 255 bytes, no '/', no control character", clip(name, 60))
	}
	return short, nil
}

func unitNames(names []string) ([]string, error) {
	out := make([]string, len(names))
	for i, n := range names {
		var err error
		if out[i], err = unitName(n); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// someUnits is unitNames where at least one is needed.
func someUnits(names []string) ([]string, error) {
	if len(names) == 0 {
		return nil, badRequest("cannot act: no unit named")
	}
	return unitNames(names)
}

func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n] + "..."
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
