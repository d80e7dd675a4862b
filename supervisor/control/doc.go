// Package control is what nsctl and the manager say to each other: the wire
// types, the client, and the server that frames them as HTTP/1.1 and JSON over
// a Unix socket. It knows nothing of units or of the state machine; the manager
// implements [Backend], and [Serve] does the rest: peer credentials, roles,
// limits, streams.
//
// # Protocol changelog
//
// Paths begin with /v1 and changes are additive: a client ignores fields that
// it does not know, the server refuses them (a misspelt field of a request must
// not be taken for a default).
//
//   - 1: first version.
//
// # Conventions
//
// Instants are Unix microseconds (fields ending in _usec) of CLOCK_REALTIME, 0
// when it never happened. Durations are nanoseconds (_nsec). Sizes are bytes. A
// measured number that the kernel does not offer (a missing controller) is 0
// and left out. States and results are words, listed at their field; a client
// shows a word that it does not know as it is.
//
// Text that comes from a service (status text, log lines, command lines) is
// passed on unchanged: whoever prints it to a terminal escapes it.
package control
