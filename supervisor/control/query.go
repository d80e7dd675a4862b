package control

import (
	"net/http"
	"net/url"
	"path"
	"regexp"
	"strconv"
)

// params reads a request's query. Every parameter has to be taken by a method;
// done refuses those that nobody took.
type params struct {
	values url.Values
	err    error
}

func queryOf(r *http.Request) *params {
	values, err := url.ParseQuery(r.URL.RawQuery)
	p := &params{values: values}
	if err != nil {
		p.err = badRequest("cannot read the query: %v", err)
	}
	return p
}

// many takes a parameter that may stand several times.
func (p *params) many(name string) []string {
	v := p.values[name]
	delete(p.values, name)
	return v
}

func (p *params) one(name string) string {
	v := p.many(name)
	if len(v) > 1 {
		p.fail(badRequest("cannot take %s more than once", name))
	}
	if len(v) == 0 {
		return ""
	}
	return v[0]
}

func (p *params) flag(name string) bool {
	s := p.one(name)
	if s == "" {
		return false
	}
	b, err := strconv.ParseBool(s)
	if err != nil {
		p.fail(badRequest("cannot take %s=%q: true or false", name, clip(s, 60)))
	}
	return b
}

func (p *params) number(name string) int64 {
	s := p.one(name)
	if s == "" {
		return 0
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		p.fail(badRequest("cannot take %s=%q: a number, not negative", name, clip(s, 60)))
	}
	return n
}

func (p *params) units(name string) []string {
	names, err := unitNames(p.many(name))
	p.fail(err)
	return names
}

// fail keeps the first error.
func (p *params) fail(err error) {
	if p.err == nil && err != nil {
		p.err = err
	}
}

func (p *params) done() error {
	for name := range p.values {
		p.fail(badRequest("cannot take the parameter %q here", clip(name, 60)))
	}
	return p.err
}

func listQuery(r *http.Request) (ListQuery, error) {
	p := queryOf(r)
	q := ListQuery{Patterns: p.units("pattern"), States: p.many("state")}
	for _, pat := range q.Patterns {
		if _, err := path.Match(pat, ""); err != nil {
			p.fail(badRequest("cannot take %q as a pattern: %v", clip(pat, 60), err))
		}
	}
	return q, p.done()
}

func logQuery(r *http.Request) (LogQuery, error) {
	p := queryOf(r)
	q := LogQuery{
		Units:       p.units("unit"),
		Last:        int(min(p.number("last"), 1<<31-1)),
		Follow:      p.flag("follow"),
		SinceUsec:   p.number("since_usec"),
		UntilUsec:   p.number("until_usec"),
		Grep:        p.one("grep"),
		MaxPriority: p.one("max_priority"),
		MinPriority: p.one("min_priority"),
		Identifiers: p.many("identifier"),
	}
	if _, err := regexp.Compile(q.Grep); err != nil {
		p.fail(badRequest("cannot search: %v", err))
	}
	for name, level := range map[string]string{"max_priority": q.MaxPriority, "min_priority": q.MinPriority} {
		if level != "" && (len(level) != 1 || level < "0" || level > "7") {
			p.fail(badRequest("cannot take %s=%q: 0 (emerg) to 7 (debug)", name, clip(level, 60)))
		}
	}
	return q, p.done()
}

// values is the inverse of logQuery, for the client.
func (q LogQuery) values() url.Values {
	v := url.Values{}
	for _, u := range q.Units {
		v.Add("unit", u)
	}
	setNumber(v, "last", int64(q.Last))
	setNumber(v, "since_usec", q.SinceUsec)
	setNumber(v, "until_usec", q.UntilUsec)
	setText(v, "grep", q.Grep)
	setText(v, "max_priority", q.MaxPriority)
	setText(v, "min_priority", q.MinPriority)
	for _, id := range q.Identifiers {
		v.Add("identifier", id)
	}
	if q.Follow {
		v.Set("follow", "true")
	}
	return v
}

func setNumber(v url.Values, name string, n int64) {
	if n != 0 {
		v.Set(name, strconv.FormatInt(n, 10))
	}
}

func setText(v url.Values, name, s string) {
	if s != "" {
		v.Set(name, s)
	}
}
