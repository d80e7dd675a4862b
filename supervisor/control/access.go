package control

// accessTable says which role a route needs at least. A route that is not here
// is closed to everybody, and fails the tests.
//
// Readers see states and names. What may hold secrets (arguments, environment,
// log lines, unit files) begins at operator; what writes files, at admin.
func accessTable() map[string]Role {
	return map[string]Role{
		"GET /v1/version":                   RoleReader,
		"GET /v1/openapi.json":              RoleReader,
		"GET /metrics":                      RoleReader,
		"GET /v1/manager":                   RoleReader,
		"GET /v1/units":                     RoleReader,
		"GET /v1/unit-files":                RoleReader,
		"GET /v1/jobs":                      RoleReader,
		"GET /v1/startup":                   RoleReader,
		"GET /v1/network":                   RoleReader,
		"GET /v1/units/{unit}":              RoleReader, // redacted, see redact
		"GET /v1/units/{unit}/dependencies": RoleReader,
		"GET /v1/events":                    RoleReader,

		"GET /v1/units/{unit}/files": RoleOperator,
		"GET /v1/units/{unit}/plan":  RoleOperator,
		"GET /v1/logs":               RoleOperator,
		"POST /v1/actions":           RoleOperator,
		"POST /v1/kill":              RoleOperator,
		"POST /v1/reset-failed":      RoleOperator,
		"POST /v1/reload":            RoleOperator,
		// As the service's own user and not as root, see execRequest.
		"POST /v1/units/{unit}/exec": RoleOperator,

		"POST /v1/enable":           RoleAdmin,
		"POST /v1/disable":          RoleAdmin,
		"POST /v1/mask":             RoleAdmin,
		"POST /v1/unmask":           RoleAdmin,
		"POST /v1/machine/{action}": RoleAdmin,
	}
}

// redact takes out of a status what a reader must not see: arguments, what a
// service or a failed program wrote, and the loader's excerpts of unit files.
func redact(st UnitStatus) UnitStatus {
	st.LoadError = firstLine(st.LoadError)
	st.ControlCommand = ""
	st.StatusText = ""
	procs := make([]Process, len(st.Processes))
	for i, p := range st.Processes {
		p.Command = ""
		procs[i] = p
	}
	st.Processes = procs
	if st.Failure != nil {
		f := *st.Failure
		f.Args, f.Lines, f.Text, f.Hint = nil, nil, "failed; ask as root or as a member of group nsinit", ""
		st.Failure = &f
	}
	return st
}
