package control

import "net/http"

// Error is the only shape in which the API reports a failure:
// {"error": {code, message, hint, unit}}. Message is a sentence that begins
// "cannot ..." and carries the unit's name only in Unit. Backends return
// *Error; any other error becomes CodeInternal.
type Error struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
	Unit    string `json:"unit,omitempty"`
	// Failure has the details when a unit's own start or stop failed.
	Failure *Failure `json:"failure,omitempty"`
}

// Codes of Error. They are stable; clients decide by them, not by the message.
const (
	CodeBadRequest   = "bad-request"         // 400: malformed, unknown field, bad name
	CodeForbidden    = "forbidden"           // 403: the peer's role does not allow it
	CodeNotFound     = "not-found"           // 404: no such path
	CodeNoSuchUnit   = "no-such-unit"        // 404
	CodeConflict     = "conflict"            // 409: not possible in the unit's present state
	CodeNotActive    = "not-active"          // 409: the unit does not run
	CodeBadUnit      = "bad-unit"            // 422: the unit's file is bad
	CodeFailed       = "failed"              // 422: it was tried and failed
	CodeNotFoundIn   = "command-not-found"   // 422: exec: no such command inside (127)
	CodeNotRunnable  = "command-not-invoked" // 422: exec: found but cannot be run (126)
	CodeTooMany      = "too-many"            // 429: connection limit of the uid
	CodeInternal     = "internal"            // 500
	CodeNotSupported = "not-supported"       // 501: this kernel or this version cannot
	CodeStopping     = "stopping"            // 503: the manager is going down
)

// Error gives the message, led by the unit's name if there is one.
func (e *Error) Error() string {
	if e.Unit == "" {
		return e.Message
	}
	return e.Unit + ": " + e.Message
}

// status maps a code to the HTTP status that carries it.
func (e *Error) status() int {
	switch e.Code {
	case CodeBadRequest:
		return http.StatusBadRequest
	case CodeForbidden:
		return http.StatusForbidden
	case CodeNotFound, CodeNoSuchUnit:
		return http.StatusNotFound
	case CodeConflict, CodeNotActive:
		return http.StatusConflict
	case CodeBadUnit, CodeFailed, CodeNotFoundIn, CodeNotRunnable:
		return http.StatusUnprocessableEntity
	case CodeTooMany:
		return http.StatusTooManyRequests
	case CodeNotSupported:
		return http.StatusNotImplemented
	case CodeStopping:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}
