// Command keys writes the KEYS section of nsinit.unit(5) as Markdown, from the
// table that the loader itself reads.
package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/nsinit/nsinit/unit"
)

func main() {
	out := bufio.NewWriter(os.Stdout)
	write(out, unit.Keys())
	if err := out.Flush(); err != nil {
		fmt.Fprintln(os.Stderr, "keys:", err)
		os.Exit(1)
	}
}

// write gives each table a heading and each key a definition, in the order of
// the keys. Keys that are not in force yet are named at the end of their table.
func write(w io.Writer, keys []unit.Key) {
	fmt.Fprint(w, "\n# KEYS\n")
	var later []string
	for i, key := range keys {
		if i == 0 || keys[i-1].Table != key.Table {
			fmt.Fprintf(w, "\n## [%s]\n\n", key.Table)
		}
		if key.Supported {
			fmt.Fprintf(w, "**%s** (%s)\n: %s\n\n", escape(key.Name), escape(key.Type), definition(key))
		} else {
			later = append(later, "**"+escape(key.Name)+"**")
		}
		if i == len(keys)-1 || keys[i+1].Table != key.Table {
			if len(later) > 0 {
				fmt.Fprintf(w, "Refused for now with \"not supported yet\": %s.\n", strings.Join(later, ", "))
			}
			later = nil
		}
	}
}

func definition(key unit.Key) string {
	parts := []string{escape(key.Doc)}
	if key.Default != "" {
		parts = append(parts, "Default: "+escape(key.Default)+".")
	}
	if key.Repeatable {
		parts = append(parts, "May be an array.")
	}
	switch key.Systemd {
	case "":
		parts = append(parts, "systemd has no such key.")
	default:
		parts = append(parts, "systemd: "+escape(key.Systemd)+"=.")
	}
	return strings.Join(parts, " ") + " Example: `" + key.Example + "`"
}

var markup = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `_`, `\_`, `<`, `\<`, `>`, `\>`, "`", "\\`", `[`, `\[`, `]`, `\]`, `~`, `\~`)

// escape takes the meaning from Markdown's own characters.
func escape(text string) string { return markup.Replace(text) }
