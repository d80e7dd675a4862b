package control

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"
)

// limits are the times that one connection has. A slow or hostile client costs
// at most a descriptor, a goroutine and the body's size, and not for ever.
type limits struct {
	header time.Duration // to send the whole header
	body   time.Duration // to send the whole body
	idle   time.Duration // between requests
	write  time.Duration // to take a reply, or one line of a stream
}

func defaultLimits() limits {
	return limits{header: 5 * time.Second, body: 10 * time.Second, idle: time.Minute, write: 10 * time.Second}
}

const (
	bodyMax = 1 << 20
	// net/http adds 4 KiB of its own to what it is told: 16 KiB in all.
	headerMax = 12 << 10
)

// Config is what a Server is made of.
type Config struct {
	Backend Backend
	// Role decides what a new connection may do.
	Role RoleFunc
	// Version and Instance are what /v1/version answers.
	Version  string
	Instance string
	// ErrorLog gets what net/http has to say (panics of handlers among
	// it); nil discards.
	ErrorLog *log.Logger
}

// Server answers the control API.
type Server struct {
	cfg    Config
	limits limits
	http   *http.Server
	ctx    context.Context
	cancel context.CancelFunc
	execs  sync.WaitGroup
}

// NewServer gives a server that does nothing until Serve.
func NewServer(cfg Config) *Server {
	return newServer(cfg, defaultLimits())
}

func newServer(cfg Config, lim limits) *Server {
	if cfg.ErrorLog == nil {
		cfg.ErrorLog = log.New(io.Discard, "", 0)
	}
	s := &Server{cfg: cfg, limits: lim}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.http = &http.Server{
		Handler:           s.handler(),
		ErrorLog:          cfg.ErrorLog,
		ReadHeaderTimeout: lim.header,
		IdleTimeout:       lim.idle,
		MaxHeaderBytes:    headerMax,
		BaseContext:       func(net.Listener) context.Context { return s.ctx },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return withPeer(ctx, c.(*peerConn).peer)
		},
	}
	return s
}

// Serve answers on l (made by Listen) until Shutdown, then gives nil.
func (s *Server) Serve(l *net.UnixListener) error {
	err := s.http.Serve(newGate(l, s.cfg.Role))
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// Shutdown closes the listener, ends every stream and exec session, and waits
// for the requests under way until ctx ends; then it closes their connections.
func (s *Server) Shutdown(ctx context.Context) error {
	s.cancel()
	err := s.http.Shutdown(ctx)
	if err != nil {
		s.http.Close()
	}
	s.execs.Wait()
	return err
}

// handler is the mux: every route behind its role, everything else refused.
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	access := accessTable()
	for _, rt := range routes() {
		least, ok := access[rt.pattern]
		if !ok {
			least = RoleAdmin + 1
		}
		mux.Handle(rt.pattern, s.guard(least, rt.handle))
	}
	mux.Handle("/", s.guard(RoleReader, func(*Server, *reply, *http.Request) error {
		return &Error{Code: CodeNotFound, Message: "cannot answer: no such path or method", Hint: "see /v1/openapi.json"}
	}))
	return mux
}

// guard checks the role and reports the handler's error.
func (s *Server) guard(least Role, h handlerFunc) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w := &reply{ResponseWriter: rw, limits: s.limits}
		if r.ContentLength != 0 {
			// For who reads the body as much as for net/http, which drains
			// what nobody read. readJSON takes it off when it has all.
			http.NewResponseController(w).SetReadDeadline(time.Now().Add(s.limits.body))
		}
		err := allowed(PeerFrom(r.Context()).Role, least)
		if err == nil {
			err = h(s, w, r)
		}
		if err != nil {
			writeError(w, err)
		}
	})
}

// allowed says why a role is not enough.
func allowed(have, least Role) error {
	if have >= least && have > RoleNone {
		return nil
	}
	e := &Error{Code: CodeForbidden, Message: "cannot do this as " + have.String() + ": it needs " + least.String()}
	switch {
	case have == RoleNone:
		e.Message = "cannot answer: processes inside an isolated service have no role here"
	case least == RoleOperator:
		e.Hint = "run it as root, or as a member of group nsinit"
	default:
		e.Hint = "run it as root"
	}
	return e
}
