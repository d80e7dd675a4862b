package control

import (
	"context"
	"net/http"
	"slices"
	"strings"
)

// get wraps what most reading routes do: no body, no unknown parameter, one
// call, one reply.
func get[T any](w *reply, r *http.Request, call func(ctx context.Context) (T, error)) error {
	if err := noBody(w, r); err != nil {
		return err
	}
	v, err := call(r.Context())
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, v)
}

// getPlain is get without parameters.
func getPlain[T any](w *reply, r *http.Request, call func(ctx context.Context) (T, error)) error {
	if err := queryOf(r).done(); err != nil {
		return err
	}
	return get(w, r, call)
}

// getOf is getPlain for a path with a unit.
func getOf[T any](w *reply, r *http.Request, call func(ctx context.Context, unit string) (T, error)) error {
	unit, err := unitName(r.PathValue("unit"))
	if err != nil {
		return err
	}
	return getPlain(w, r, func(ctx context.Context) (T, error) { return call(ctx, unit) })
}

func (s *Server) getVersion(w *reply, r *http.Request) error {
	return getPlain(w, r, func(context.Context) (Version, error) {
		return Version{Version: s.cfg.Version, Protocol: ProtocolVersion, Instance: s.cfg.Instance}, nil
	})
}

func (s *Server) getOpenAPI(w *reply, r *http.Request) error {
	if err := noBody(w, r); err != nil {
		return err
	}
	writeBody(w, http.StatusOK, "application/json", openAPI)
	return nil
}

func (s *Server) getManager(w *reply, r *http.Request) error {
	return getPlain(w, r, s.cfg.Backend.Manager)
}

func (s *Server) getUnits(w *reply, r *http.Request) error {
	q, err := listQuery(r)
	if err != nil {
		return err
	}
	return get(w, r, func(ctx context.Context) ([]UnitListEntry, error) {
		list, err := s.cfg.Backend.List(ctx, q)
		return notNil(list), err
	})
}

func (s *Server) getJobs(w *reply, r *http.Request) error {
	return getPlain(w, r, func(ctx context.Context) ([]Job, error) {
		list, err := s.cfg.Backend.Jobs(ctx)
		return notNil(list), err
	})
}

func (s *Server) getStartup(w *reply, r *http.Request) error {
	return getPlain(w, r, func(ctx context.Context) (Startup, error) {
		st, err := s.cfg.Backend.Startup(ctx)
		st.Units = notNil(st.Units)
		return st, err
	})
}

func (s *Server) getUnitFiles(w *reply, r *http.Request) error {
	return getPlain(w, r, func(ctx context.Context) ([]UnitFileEntry, error) {
		list, err := s.cfg.Backend.UnitFiles(ctx)
		return notNil(list), err
	})
}

// notNil makes an empty list [] rather than null.
func notNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func (s *Server) getUnit(w *reply, r *http.Request) error {
	return getOf(w, r, func(ctx context.Context, unit string) (UnitStatus, error) {
		st, err := s.cfg.Backend.Status(ctx, unit)
		if err == nil && PeerFrom(ctx).Role < RoleOperator {
			st = redact(st)
		}
		return st, err
	})
}

func (s *Server) getFiles(w *reply, r *http.Request) error {
	return getOf(w, r, s.cfg.Backend.Cat)
}

func (s *Server) getPlan(w *reply, r *http.Request) error {
	return getOf(w, r, s.cfg.Backend.Plan)
}

func (s *Server) getDependencies(w *reply, r *http.Request) error {
	unit, err := unitName(r.PathValue("unit"))
	if err != nil {
		return err
	}
	p := queryOf(r)
	q := DependencyQuery{Unit: unit, Reverse: p.flag("reverse"), All: p.flag("all")}
	if err := p.done(); err != nil {
		return err
	}
	return get(w, r, func(ctx context.Context) (Dependency, error) { return s.cfg.Backend.Dependencies(ctx, q) })
}

func (s *Server) getLogs(w *reply, r *http.Request) error {
	q, err := logQuery(r)
	if err == nil {
		err = noBody(w, r)
	}
	if err != nil {
		return err
	}
	return stream(w, s.cfg.Backend.Logs(r.Context(), q), false)
}

func (s *Server) getEvents(w *reply, r *http.Request) error {
	p := queryOf(r)
	q := EventQuery{Units: p.units("unit")}
	err := p.done()
	if err == nil {
		err = noBody(w, r)
	}
	if err != nil {
		return err
	}
	events := s.cfg.Backend.Events(r.Context(), q)
	if PeerFrom(r.Context()).Role >= RoleOperator {
		return stream(w, events, true)
	}
	return stream(w, func(yield func(Event, error) bool) {
		for e, err := range events {
			e.Text = "" // may quote arguments
			if !yield(e, err) {
				return
			}
		}
	}, true)
}

func (s *Server) postAction(w *reply, r *http.Request) error {
	var req ActRequest
	err := readJSON(w, r, &req)
	if err == nil {
		req.Units, err = someUnits(req.Units)
	}
	if err != nil {
		return err
	}
	if !slices.Contains(verbs(), req.Verb) {
		return badRequest("cannot %q: the verb is one of %s", clip(req.Verb, 60), strings.Join(verbs(), ", "))
	}
	if req.Verb == VerbIsolate && len(req.Units) != 1 {
		return badRequest("cannot isolate %d units: it takes one", len(req.Units))
	}
	return stream(w, s.cfg.Backend.Act(r.Context(), req), true)
}

func verbs() []string {
	return []string{VerbStart, VerbStop, VerbRestart, VerbTryRestart, VerbReload, VerbReloadOrRestart, VerbIsolate}
}

func (s *Server) postKill(w *reply, r *http.Request) error {
	var req KillRequest
	err := readJSON(w, r, &req)
	if err == nil {
		req.Unit, err = unitName(req.Unit)
	}
	if err != nil {
		return err
	}
	if req.Signal < 1 || req.Signal > 64 {
		return badRequest("cannot send signal %d: 1 to 64", req.Signal)
	}
	switch req.Whom {
	case "":
		req.Whom = "all"
	case "main", "control", "all":
	default:
		return badRequest("cannot signal %q: main, control or all", clip(req.Whom, 60))
	}
	if err := s.cfg.Backend.Kill(r.Context(), req); err != nil {
		return err
	}
	st, err := s.cfg.Backend.Status(r.Context(), req.Unit)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, st)
}

func (s *Server) postResetFailed(w *reply, r *http.Request) error {
	var req UnitsRequest
	err := readJSON(w, r, &req)
	if err == nil {
		req.Units, err = unitNames(req.Units)
	}
	if err == nil {
		err = s.cfg.Backend.ResetFailed(r.Context(), req.Units)
	}
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, Empty{})
}

// messageMax is how long a message of a shutdown may be.
const messageMax = 1024

func (s *Server) postMachine(w *reply, r *http.Request) error {
	var req MachineRequest
	if err := readJSON(w, r, &req); err != nil {
		return err
	}
	action := r.PathValue("action")
	known := []string{MachinePoweroff, MachineReboot, MachineHalt, MachineKexec, MachineCancel}
	switch {
	case !slices.Contains(known, action):
		return badRequest("cannot %q the machine: one of %s", clip(action, 60), strings.Join(known, ", "))
	case req.AtUsec < 0:
		return badRequest("cannot %s at %d: it is no time", action, req.AtUsec)
	case len(req.Message) > messageMax:
		return badRequest("cannot take a message of %d bytes: the most is %d", len(req.Message), messageMax)
	}
	res, err := s.cfg.Backend.Machine(r.Context(), action, req)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, res)
}

func (s *Server) postReload(w *reply, r *http.Request) error {
	if err := readJSON(w, r, &Empty{}); err != nil {
		return err
	}
	res, err := s.cfg.Backend.Reload(r.Context())
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, res)
}

func (s *Server) postEnable(w *reply, r *http.Request) error {
	return s.enable(w, r, VerbStart, s.cfg.Backend.Enable)
}

func (s *Server) postDisable(w *reply, r *http.Request) error {
	return s.enable(w, r, VerbStop, s.cfg.Backend.Disable)
}

func (s *Server) postMask(w *reply, r *http.Request) error {
	return s.enable(w, r, VerbStop, s.cfg.Backend.Mask)
}

func (s *Server) postUnmask(w *reply, r *http.Request) error {
	return s.enable(w, r, VerbStart, s.cfg.Backend.Unmask)
}

// enable writes or removes, and with Now acts and gathers the results: a stop
// comes first, since a masked unit is none that can be named, a start last.
func (s *Server) enable(w *reply, r *http.Request, verb string, change func(context.Context, []string) ([]Change, error)) error {
	var req EnableRequest
	err := readJSON(w, r, &req)
	if err == nil {
		req.Units, err = someUnits(req.Units)
	}
	if err != nil {
		return err
	}
	var reply EnableReply
	if req.Now && verb == VerbStop {
		if reply.Results, err = s.results(r.Context(), ActRequest{Verb: verb, Units: req.Units}); err != nil {
			return err
		}
	}
	if reply.Changes, err = change(r.Context(), req.Units); err != nil {
		return err
	}
	reply.Changes = notNil(reply.Changes)
	if req.Now && verb != VerbStop {
		if reply.Results, err = s.results(r.Context(), ActRequest{Verb: verb, Units: req.Units}); err != nil {
			return err
		}
	}
	return writeJSON(w, http.StatusOK, reply)
}

// results acts, and gives what came of it.
func (s *Server) results(ctx context.Context, req ActRequest) ([]Progress, error) {
	var out []Progress
	for p, err := range s.cfg.Backend.Act(ctx, req) {
		if err != nil {
			return nil, err
		}
		if p.Done {
			out = append(out, p)
		}
	}
	return out, nil
}
