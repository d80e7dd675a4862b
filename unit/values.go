package unit

import (
	"fmt"

	"github.com/BurntSushi/toml"
)

// KeyValue is what a unit has for one key, as systemd writes it: one string
// for each line.
type KeyValue struct {
	Key     Key
	Value   []string
	Written bool // a file says it; otherwise it is the default
}

// Values gives every key that has a value in force, in the order of the table
// of keys. Commands have their text, environment NAME=VALUE, directories their
// path.
func (u *Unit) Values() ([]KeyValue, error) {
	var out []KeyValue
	b := &builder{unit: u}
	for _, k := range keyTable().with(u.Network.Links) {
		if !k.Supported || k.fieldName() == "-" || k.index == nil || u.target && k.Table != "unit" && k.Table != "install" {
			continue
		}
		text := b.render(k)
		if text == "" {
			continue
		}
		var doc map[string]any
		if _, err := toml.Decode("v = "+text, &doc); err != nil {
			return nil, fmt.Errorf("cannot read %s = %s back: %w", k.ID(), text, err)
		}
		out = append(out, KeyValue{*k, lines(doc["v"]), len(u.Origins(k.ID())) > 0})
	}
	return out, nil
}

// lines flattens a TOML value.
func lines(v any) []string {
	switch v := v.(type) {
	case []any:
		out := []string{}
		for _, item := range v {
			if argv, exact := item.([]any); exact {
				var words []string
				for _, w := range argv {
					words = append(words, unsplit(fmt.Sprint(w)))
				}
				if c, err := CommandFromArgv(words); err == nil {
					item = c.text()
				}
			}
			out = append(out, lines(item)...)
		}
		return out
	case map[string]any:
		if path, ok := v["path"]; ok {
			return []string{fmt.Sprint(path)}
		}
		var out []string
		for _, name := range sortedKeys(v) {
			out = append(out, quote(name+"="+fmt.Sprint(v[name])))
		}
		return out
	}
	return []string{fmt.Sprint(v)}
}

// unsplit writes $NAME, which the argv form does not split, as ${NAME}, which
// systemd does not.
func unsplit(word string) string {
	if len(word) > 1 && word[0] == '$' && ValidEnvironmentName(word[1:]) {
		return "${" + word[1:] + "}"
	}
	return word
}
