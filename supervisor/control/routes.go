package control

import (
	_ "embed"
	"net/http"
)

// ProtocolVersion counts the entries of the changelog above.
const ProtocolVersion = 1

//go:embed openapi.json
var openAPI []byte

type handlerFunc func(*Server, *reply, *http.Request) error

type route struct {
	pattern string // "METHOD /path", as of http.ServeMux
	handle  handlerFunc
}

// routes is everything that the server answers. Each needs a row in
// accessTable and a path in openapi.json.
func routes() []route {
	return []route{
		{"GET /v1/version", (*Server).getVersion},
		{"GET /v1/openapi.json", (*Server).getOpenAPI},
		{"GET /metrics", (*Server).getMetrics},
		{"GET /v1/manager", (*Server).getManager},
		{"GET /v1/units", (*Server).getUnits},
		{"GET /v1/jobs", (*Server).getJobs},
		{"GET /v1/startup", (*Server).getStartup},
		{"GET /v1/network", (*Server).getNetwork},
		{"GET /v1/unit-files", (*Server).getUnitFiles},
		{"GET /v1/units/{unit}", (*Server).getUnit},
		{"GET /v1/units/{unit}/files", (*Server).getFiles},
		{"GET /v1/units/{unit}/plan", (*Server).getPlan},
		{"GET /v1/units/{unit}/dependencies", (*Server).getDependencies},
		{"POST /v1/units/{unit}/exec", (*Server).postExec},
		{"GET /v1/logs", (*Server).getLogs},
		{"GET /v1/events", (*Server).getEvents},
		{"POST /v1/actions", (*Server).postAction},
		{"POST /v1/kill", (*Server).postKill},
		{"POST /v1/reset-failed", (*Server).postResetFailed},
		{"POST /v1/machine/{action}", (*Server).postMachine},
		{"POST /v1/reload", (*Server).postReload},
		{"POST /v1/enable", (*Server).postEnable},
		{"POST /v1/disable", (*Server).postDisable},
		{"POST /v1/mask", (*Server).postMask},
		{"POST /v1/unmask", (*Server).postUnmask},
	}
}
