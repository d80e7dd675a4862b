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

// Limits of one connection. A slow or hostile client costs at most a
// descriptor, a goroutine and the body's size.
const (
	headerTimeout = 5 * time.Second
	bodyTimeout   = 10 * time.Second
	idleTimeout   = 60 * time.Second
	writeTimeout  = 10 * time.Second
	bodyMax       = 1 << 20
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
	http   *http.Server
	ctx    context.Context
	cancel context.CancelFunc
	execs  sync.WaitGroup
}

// NewServer gives a server that does nothing until Serve.
func NewServer(cfg Config) *Server {
	if cfg.ErrorLog == nil {
		cfg.ErrorLog = log.New(io.Discard, "", 0)
	}
	s := &Server{cfg: cfg}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.http = &http.Server{
		Handler:           s.handler(),
		ErrorLog:          cfg.ErrorLog,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
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
	mux.Handle("/", s.guard(RoleReader, func(*Server, http.ResponseWriter, *http.Request) error {
		return &Error{Code: CodeNotFound, Message: "cannot answer: no such path or method", Hint: "see /v1/openapi.json"}
	}))
	return mux
}

// guard checks the role and reports the handler's error.
func (s *Server) guard(least Role, h handlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := allowed(PeerFrom(r.Context()).Role, least)
		if err == nil {
			err = h(s, w, r)
		} else if r.ContentLength != 0 {
			w.Header().Set("Connection", "close") // rather than read the body
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
