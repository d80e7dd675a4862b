package logs

import (
	"bytes"
	"slices"
	"strings"
)

const (
	maxFields     = 64       // of one record
	maxFieldBytes = 16 << 10 // of all fields of one record
)

// Field is one more thing that a sender said of a record: of the journal's
// protocol by its name, of structured data (RFC 5424) by "ID.NAME".
type Field struct {
	Name, Value string
}

// addField keeps what there is room for. Bytes that are no UTF-8 become U+FFFD.
func (r *Record) addField(name string, value []byte) {
	used := len(name) + len(value)
	for _, f := range r.Fields {
		used += len(f.Name) + len(f.Value)
	}
	if len(r.Fields) >= maxFields || used > maxFieldBytes || name == "" {
		r.Continued = true
		return
	}
	r.Fields = append(r.Fields, Field{name, strings.ToValidUTF8(string(value), "\ufffd")})
}

func appendFields(dst []byte, fields []Field) []byte {
	if len(fields) == 0 {
		return dst
	}
	open := `,"x":{`
	for i, f := range fields {
		if slices.ContainsFunc(fields[:i], func(g Field) bool { return g.Name == f.Name }) {
			continue // JSON has one of each; which is the first
		}
		dst = append(dst, open...)
		dst = appendString(dst, []byte(f.Name))
		dst = append(dst, ':')
		dst = appendString(dst, []byte(f.Value))
		open = ","
	}
	return append(dst, '}')
}

func fieldsOf(m map[string]string) (list []Field) {
	for name, value := range m {
		list = append(list, Field{name, value})
	}
	slices.SortFunc(list, func(a, b Field) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// parse5424 reads what follows "<PRI>" of RFC 5424: VERSION, then TIMESTAMP,
// HOSTNAME, APP-NAME, PROCID, MSGID, structured data, and the text.
func (r *Record) parse5424(b []byte) bool {
	if !bytes.HasPrefix(b, []byte("1 ")) {
		return false
	}
	var head [5][]byte
	rest := b[2:]
	for i := range head {
		var ok bool
		if head[i], rest, ok = bytes.Cut(rest, []byte(" ")); !ok || len(head[i]) == 0 {
			return false
		}
	}
	if head[0][0] != '-' && (len(head[0]) < 20 || head[0][10] != 'T') {
		return false // "<13>1 is a number"
	}
	rest, ok := r.structured(rest)
	if !ok {
		return false
	}
	if app := head[2]; string(app) != "-" {
		r.Ident = string(app[:min(len(app), maxIdent)])
	}
	if id := head[4]; string(id) != "-" {
		r.addField("MSGID", id)
	}
	r.Message = bytes.TrimPrefix(bytes.TrimPrefix(rest, []byte(" ")), []byte("\ufeff"))
	return true
}

// structured reads "-" or elements like [id name="value" ...].
func (r *Record) structured(b []byte) (rest []byte, ok bool) {
	if len(b) > 0 && b[0] == '-' {
		return b[1:], true
	}
	for len(b) > 0 && b[0] == '[' {
		end := bytes.IndexAny(b, " ]")
		if end < 2 {
			return nil, false
		}
		id := string(b[1:end])
		b = b[end:]
		for len(b) > 0 && b[0] == ' ' {
			name, after, found := bytes.Cut(b[1:], []byte(`="`))
			value, tail, closed := quoted(after)
			if !found || !closed || len(name) == 0 || bytes.ContainsAny(name, ` ]"`) {
				return nil, false
			}
			r.addField(id+"."+string(name), value)
			b = tail
		}
		if len(b) == 0 || b[0] != ']' {
			return nil, false
		}
		b, ok = b[1:], true
	}
	return b, ok
}

// quoted reads up to the closing quote; \", \\ and \] stand for the second character.
func quoted(b []byte) (value, rest []byte, ok bool) {
	for i := 0; i < len(b); i++ {
		switch {
		case b[i] == '\\' && i+1 < len(b) && strings.IndexByte(`"\]`, b[i+1]) >= 0:
			i++
		case b[i] == '"':
			return value, b[i+1:], true
		}
		value = append(value, b[i])
	}
	return nil, nil, false
}
