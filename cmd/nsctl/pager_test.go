package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestPager: what fits on the screen needs no pager, whatever that can do; what
// does not fit goes through it, whole.
func TestPager(t *testing.T) {
	for _, tt := range []struct {
		name       string
		rows, cols uint16
		lines      int
		width      int
		paged      bool
	}{
		{"fits", 10, 80, 9, 40, false},
		{"one line too many", 10, 80, 10, 40, true},
		{"lines that wrap", 10, 20, 5, 40, true},
		{"a serial line without a size", 0, 0, 23, 80, false},
		{"and too much for it", 0, 0, 24, 80, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			master, slave := openPTY(t, tt.rows, tt.cols)
			a := &app{stdout: slave, out: slave, env: func(name string) string {
				return map[string]string{"NSCTL_PAGER": "sed s/^/paged:/"}[name]
			}}
			a.page()
			text := ""
			for i := range tt.lines {
				line := fmt.Sprintf("%0*d\n", tt.width, i)
				fmt.Fprint(a.out, line)
				if tt.paged {
					line = "paged:" + line
				}
				text += line
			}
			a.closePager()
			if got := readAll(t, master, len(text)+strings.Count(text, "\n")); got != text {
				t.Errorf("got %q, want %q", got, text)
			}
		})
	}
}

// readAll reads n bytes of a terminal, with the line ends of a file.
func readAll(t *testing.T, f *os.File, n int) string {
	t.Helper()
	var text []byte
	for b := make([]byte, 4096); len(text) < n; {
		got, err := f.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, b[:got]...)
	}
	return strings.ReplaceAll(string(text), "\r\n", "\n")
}
