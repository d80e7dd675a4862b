package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nsinit/nsinit/unit"
)

func explainCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "explain [KEY]", Short: "Explain a key of unit files, by our name or systemd's", Args: cobra.MaximumNArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			var names []string
			for _, k := range unit.Keys() {
				names = append(names, k.Name+"\t"+k.Doc)
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return a.allKeys()
			}
			keys := unit.LookupKey(args[0])
			if len(keys) == 0 {
				return unknownKey(args[0])
			}
			if a.json {
				return a.printJSON(keysJSON(keys))
			}
			for i, k := range keys {
				if i > 0 {
					fmt.Fprintln(a.out)
				}
				renderKey(a.out, a.view(), k)
			}
			return nil
		},
	}
}

// unknownKey names the keys that contain the word, else those that are nearest.
func unknownKey(name string) error {
	word := flat(strings.TrimSuffix(name, "="))
	var inside, near []string
	for _, k := range unit.Keys() {
		if strings.Contains(flat(k.Name), word) {
			inside = append(inside, k.ID())
		} else if distance(flat(k.Name), word) <= 2 {
			near = append(near, k.ID())
		}
	}
	if list := append(inside, near...); len(list) > 0 {
		return fmt.Errorf("cannot explain %q: no such key; did you mean %s?", name, strings.Join(list[:min(len(list), 6)], ", "))
	}
	return fmt.Errorf("cannot explain %q: no such key (nsctl explain lists them all)", name)
}

// flat makes ExecStart and exec_start the same.
func flat(name string) string { return strings.ToLower(strings.ReplaceAll(name, "_", "")) }

// distance is Levenshtein's, in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}

func renderKey(w io.Writer, v view, k unit.Key) {
	fmt.Fprintf(w, "%s in [%s]\n", v.paint(bold, k.Name), k.Table)
	fmt.Fprintf(w, "  %s\n\n", k.Doc)
	line := func(label, value string) {
		if value != "" {
			fmt.Fprintf(w, "  %s %s\n", pad(label, 8, false), value)
		}
	}
	many := ""
	if k.Repeatable {
		many = ", or an array of them"
	}
	line("Type", k.Type+many)
	line("Default", orElse(k.Default, "none"))
	line("systemd", orElse(prefixed("", k.Systemd), "(has no such key)"))
	line("Example", k.Example)
	if !k.Supported {
		line("Note", "not supported yet: a unit that uses it is refused")
	}
}

func (a *app) allKeys() error {
	if a.json {
		return a.printJSON(keysJSON(unit.Keys()))
	}
	t := table{columns: []column{{name: "TABLE"}, {name: "KEY"}, {name: "DEFAULT", drop: 2}, {name: "SYSTEMD", drop: 1}, {name: "WHAT"}}}
	for _, k := range unit.Keys() {
		mark := ""
		if !k.Supported {
			mark = "-"
		}
		t.add(mark, grey, k.Table, k.Name, cut(k.Default, 20), k.Systemd, k.Doc)
	}
	v := a.view()
	a.page()
	t.print(a.out, v, true)
	fmt.Fprintln(a.out, "\n- is not supported yet")
	return nil
}

// keyJSON gives unit.Key snake_case names.
type keyJSON struct {
	Table      string `json:"table"`
	Name       string `json:"name"`
	Type       string `json:"type"`
	Default    string `json:"default,omitempty"`
	Systemd    string `json:"systemd,omitempty"`
	Doc        string `json:"doc"`
	Example    string `json:"example"`
	Repeatable bool   `json:"repeatable"`
	Supported  bool   `json:"supported"`
}

func keysJSON(keys []unit.Key) []keyJSON {
	out := make([]keyJSON, len(keys))
	for i, k := range keys {
		out[i] = keyJSON{k.Table, k.Name, k.Type, k.Default, k.Systemd, k.Doc, k.Example, k.Repeatable, k.Supported}
	}
	return out
}
