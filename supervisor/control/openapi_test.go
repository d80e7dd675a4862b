package control

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// document is the part of OpenAPI 3.1 that openapi.json uses.
type document struct {
	OpenAPI    string                          `json:"openapi"`
	Paths      map[string]map[string]operation `json:"paths"`
	Components struct {
		Schemas map[string]schema `json:"schemas"`
	} `json:"components"`
}

type operation struct {
	OperationID string `json:"operationId"`
	Role        string `json:"x-role"`
	RequestBody struct {
		Content map[string]media `json:"content"`
	} `json:"requestBody"`
	Responses map[string]struct {
		Content map[string]media `json:"content"`
	} `json:"responses"`
}

type media struct {
	Schema schema `json:"schema"`
}

type schema struct {
	Ref        string            `json:"$ref"`
	Type       string            `json:"type"`
	Items      *schema           `json:"items"`
	Properties map[string]schema `json:"properties"`
	Additional *schema           `json:"additionalProperties"`
	Required   []string          `json:"required"`
}

func readDocument(t *testing.T) document {
	t.Helper()
	var d document
	if err := json.Unmarshal(openAPI, &d); err != nil {
		t.Fatal(err)
	}
	if d.OpenAPI != "3.1.0" {
		t.Errorf("version %q", d.OpenAPI)
	}
	return d
}

// check says where v differs from s. Properties that the schema does not have
// are errors here: the document must keep up with the types.
func (d document) check(s schema, v any, at string) []string {
	if name, ok := strings.CutPrefix(s.Ref, "#/components/schemas/"); ok {
		next, ok := d.Components.Schemas[name]
		if !ok {
			return []string{at + ": no schema " + name}
		}
		return d.check(next, v, at)
	}
	switch v := v.(type) {
	case map[string]any:
		return d.checkObject(s, v, at)
	case []any:
		if s.Type != "array" || s.Items == nil {
			return []string{at + ": an array, not " + s.Type}
		}
		var out []string
		for i, e := range v {
			out = append(out, d.check(*s.Items, e, fmt.Sprintf("%s[%d]", at, i))...)
		}
		return out
	case float64:
		if s.Type != "number" && (s.Type != "integer" || v != math.Trunc(v)) {
			return []string{at + ": a number, not " + s.Type}
		}
	case string:
		if s.Type != "string" {
			return []string{at + ": a string, not " + s.Type}
		}
	case bool:
		if s.Type != "boolean" {
			return []string{at + ": a boolean, not " + s.Type}
		}
	default:
		return []string{fmt.Sprintf("%s: %v", at, v)}
	}
	return nil
}

func (d document) checkObject(s schema, v map[string]any, at string) (out []string) {
	if s.Type != "object" {
		return []string{at + ": an object, not " + s.Type}
	}
	for _, name := range s.Required {
		if _, ok := v[name]; !ok {
			out = append(out, at+"."+name+" is missing")
		}
	}
	for name, e := range v {
		p, ok := s.Properties[name]
		if !ok && s.Additional != nil {
			p, ok = *s.Additional, true
		}
		if !ok && s.Properties != nil {
			out = append(out, at+"."+name+" is not in the schema")
		} else if ok {
			out = append(out, d.check(p, e, at+"."+name)...)
		}
	}
	return out
}

func (d document) operation(pattern string) (operation, bool) {
	method, path, _ := strings.Cut(pattern, " ")
	op, ok := d.Paths[path][strings.ToLower(method)]
	return op, ok
}

func TestDocumentHasEveryRoute(t *testing.T) {
	d := readDocument(t)
	have := map[string]bool{}
	for path, ops := range d.Paths {
		for method, op := range ops {
			pattern := strings.ToUpper(method) + " " + path
			have[pattern] = true
			if role, ok := accessTable()[pattern]; !ok || role.String() != op.Role {
				t.Errorf("%s: x-role is %s, the table says %s", pattern, op.Role, role)
			}
		}
	}
	for _, rt := range routes() {
		if !have[rt.pattern] {
			t.Errorf("%s is not in the document", rt.pattern)
		}
		delete(have, rt.pattern)
	}
	for pattern := range have {
		t.Errorf("the document has %s, which is no route", pattern)
	}
}

// Real requests and answers are as the document says.
func TestAnswersMatchDocument(t *testing.T) {
	d := readDocument(t)
	c := client(t, exitingFake(), RoleAdmin)
	for pattern, s := range samples() {
		op, _ := d.operation(pattern)
		if s.body != "" {
			var v any
			json.Unmarshal([]byte(s.body), &v)
			for _, e := range d.check(op.RequestBody.Content["application/json"].Schema, v, "request") {
				if !strings.HasSuffix(e, "is missing") {
					t.Errorf("%s: %s", pattern, e)
				}
			}
		}
		status, body := request(t, c, pattern, s)
		reply, ok := op.Responses[fmt.Sprint(status)]
		if !ok {
			t.Errorf("%s: status %d is not in the document", pattern, status)
		}
		for kind, m := range reply.Content {
			checkBody(t, d, pattern, kind, m.Schema, body)
		}
	}
	_, body := request(t, c, "GET /x", sample{path: "/v1/units/nope"})
	checkBody(t, d, "error", "application/json", d.Components.Schemas["ErrorReply"], body)
}

func checkBody(t *testing.T, d document, pattern, kind string, s schema, body string) {
	t.Helper()
	if !strings.Contains(kind, "json") {
		return
	}
	for line := range strings.Lines(body) {
		var v any
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			if kind == "application/json" { // one value on many lines
				return
			}
			t.Errorf("%s: %v", pattern, err)
		}
		for _, e := range d.check(s, v, "reply") {
			t.Errorf("%s: %s", pattern, e)
		}
	}
}

// Every field of every type is in its schema, and no other.
func TestSchemasMatchTypes(t *testing.T) {
	d := readDocument(t)
	for _, v := range []any{UnitStatus{}, LogStatus{}, LeftOver{}, Deadline{}, Exit{}, Failure{}, Notice{}, Namespace{}, Listening{}, Network{}, Process{},
		ManagerStatus{}, UnitListEntry{}, UnitFileEntry{}, ActRequest{}, Progress{}, KillRequest{}, UnitsRequest{}, EnableRequest{},
		Change{}, ReloadResult{}, UnitText{}, FileText{}, Plan{}, PlanStep{}, Dependency{}, LogRecord{}, Event{}, ExecRequest{}, ExecExit{},
		Job{}, NetworkStatus{}, BridgeStatus{}, PoolStatus{}, NetworkUnit{}, NetworkLink{}, Refusal{}, ForeignLink{}, Startup{}, StartupUnit{}, Shutdown{}, MachineRequest{}, MachineReply{}, Version{}, EnableReply{}, Empty{}, Error{}} {
		typ := reflect.TypeOf(v)
		s, ok := d.Components.Schemas[typ.Name()]
		if !ok {
			t.Errorf("no schema of %s", typ.Name())
			continue
		}
		var fields, required []string
		for f := range typ.Fields() {
			name, opt, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name == "-" {
				continue
			}
			fields = append(fields, name)
			if opt == "" {
				required = append(required, name)
			}
		}
		slices.Sort(fields)
		if got := slices.Sorted(maps.Keys(s.Properties)); !slices.Equal(got, fields) {
			t.Errorf("%s: schema has %v, type has %v", typ.Name(), got, fields)
		}
		if !slices.Equal(s.Required, required) {
			t.Errorf("%s: required %v, type always sends %v", typ.Name(), s.Required, required)
		}
		delete(d.Components.Schemas, typ.Name())
	}
	delete(d.Components.Schemas, "ErrorReply")
	for name := range d.Components.Schemas {
		t.Errorf("schema %s has no type", name)
	}
}
