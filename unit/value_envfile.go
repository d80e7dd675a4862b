package unit

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"
)

// ParseEnvironmentFile reads a file of systemd's EnvironmentFile=
// (systemd.exec(5)): NAME=VALUE a line, in the order of the file; comments
// begin with # or ;. Quotes in a value are removed and may hold line breaks; a
// backslash outside of them takes the next character as it is, and joins lines
// before a line break; within double quotes it only goes before " \ ` and $.
// Lines without "=" and lines whose name is none are ignored, as systemd does:
// files of /etc/default are often half a shell script. A quote that is never
// closed is an error, because it swallows the rest of the file.
func ParseEnvironmentFile(data []byte) ([]EnvAssignment, error) {
	if i := bytes.IndexByte(data, 0); i >= 0 {
		return nil, fmt.Errorf("line %d: a NUL byte; this is no text file", 1+bytes.Count(data[:i], []byte("\n")))
	}
	p := envParser{text: strings.TrimPrefix(string(data), "\ufeff"), line: 1}
	var list []EnvAssignment
	for p.text != "" {
		a, ok, err := p.next()
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", p.line, err)
		}
		if ok {
			list = append(list, a)
		}
	}
	return list, nil
}

// envParser holds what is left of an environment file.
type envParser struct {
	text string
	line int // where text begins, from 1
}

// take cuts n bytes off the text.
func (p *envParser) take(n int) string {
	s := p.text[:n]
	p.text = p.text[n:]
	p.line += strings.Count(s, "\n")
	return s
}

// takeLine cuts off what is left of the line with its break, and returns it
// without.
func (p *envParser) takeLine() string {
	if i := strings.IndexAny(p.text, "\n\r"); i >= 0 {
		return p.take(i + 1)[:i]
	}
	return p.take(len(p.text))
}

// next reads one line, or several that belong together; ok is false if it
// assigns nothing.
func (p *envParser) next() (a EnvAssignment, ok bool, err error) {
	p.take(len(p.text) - len(strings.TrimLeft(p.text, blanks)))
	if p.text == "" || p.text[0] == '#' || p.text[0] == ';' {
		p.takeLine()
		return a, false, nil
	}
	end := strings.IndexAny(p.text, "=\n\r")
	if end < 0 || p.text[end] != '=' {
		p.takeLine()
		return a, false, nil
	}
	name := strings.TrimRight(p.take(end), blanks)
	p.take(1)
	value, err := p.value()
	if err != nil {
		return a, false, fmt.Errorf("%s: %w", name, err)
	}
	if !ValidEnvironmentName(name) || !utf8.ValidString(value) {
		return a, false, nil
	}
	return EnvAssignment{Name: name, Value: value}, true, nil
}

// value reads up to the end of the line. Blanks around the value go, and so do
// those between a closing quote and what follows.
func (p *envParser) value() (string, error) {
	var b strings.Builder
	keep := 0       // length of b without trailing plain blanks
	atStart := true // before the value, or right after a quote
	for p.text != "" {
		c := p.text[0]
		switch {
		case c == '\n' || c == '\r':
			p.take(1)
			return b.String()[:keep], nil
		case c == '\\':
			p.escape(&b)
			keep, atStart = b.Len(), false
		case atStart && (c == '\'' || c == '"'):
			if err := p.quoted(&b, c); err != nil {
				return "", err
			}
			keep = b.Len()
		case c == ' ' || c == '\t':
			if p.take(1); !atStart {
				b.WriteByte(c)
			}
		default:
			b.WriteString(p.take(1))
			keep, atStart = b.Len(), false
		}
	}
	return b.String()[:keep], nil
}

// escape reads a backslash outside of quotes.
func (p *envParser) escape(b *strings.Builder) {
	p.take(1)
	if p.text == "" {
		return
	}
	if c := p.take(1); c != "\n" && c != "\r" {
		b.WriteString(c)
	}
}

// quoted reads a quoted part. Nothing is special between single quotes.
func (p *envParser) quoted(b *strings.Builder, quote byte) error {
	for i := 1; i < len(p.text); i++ {
		c := p.text[i]
		switch {
		case c == quote:
			p.take(i + 1)
			return nil
		case c == '\\' && quote == '"' && i+1 < len(p.text):
			i++
			if next := p.text[i]; next != '\n' {
				if strings.IndexByte("\"\\`$", next) < 0 {
					b.WriteByte('\\')
				}
				b.WriteByte(next)
			}
		default:
			b.WriteByte(c)
		}
	}
	return fmt.Errorf("the quote %c is never closed", quote)
}
