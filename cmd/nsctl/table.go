package main

import (
	"io"
	"strings"
	"unicode/utf8"
)

// column of a table. Drop is the order in which columns go when the terminal is
// narrow: the highest first, 0 never.
type column struct {
	name  string
	right bool
	drop  int
}

// row is one line: a mark before the first column (one rune, or empty), its
// colour, and a cell for each column. Cells are cleaned here.
type row struct {
	mark, colour string
	cells        []string
}

// table prints rows under a heading. The last column takes what room is left.
// text/tabwriter cannot do it: it counts colour codes as text, aligns all
// columns alike, and knows no width.
type table struct {
	columns []column
	rows    []row
}

func (t *table) add(mark, colour string, cells ...string) {
	for i, c := range cells {
		if cells[i] = clean(c); c == "" {
			cells[i] = "-"
		}
	}
	t.rows = append(t.rows, row{mark, colour, cells})
}

func (t *table) widths() []int {
	w := make([]int, len(t.columns))
	for i, c := range t.columns {
		w[i] = len(c.name)
		for _, r := range t.rows {
			w[i] = max(w[i], utf8.RuneCountInString(r.cells[i]))
		}
	}
	return w
}

// lastRoom is what the last column needs before others are dropped for it.
const lastRoom = 16

// choose says which columns are shown in width, and what room the last has.
func (t *table) choose(widths []int, width int) (shown []bool, last int) {
	shown = make([]bool, len(widths))
	total := 2
	for i := range widths {
		shown[i] = true
		if i < len(widths)-1 {
			total += widths[i] + 2
		}
	}
	if width == 0 {
		return shown, 0
	}
	n := len(widths) - 1
	for drop := 9; drop > 0 && total+min(lastRoom, widths[n]) > width; drop-- {
		for i, c := range t.columns[:n] {
			if c.drop == drop {
				shown[i] = false
				total -= widths[i] + 2
			}
		}
	}
	return shown, max(width-total, 8)
}

func (t *table) print(w io.Writer, v view, heading bool) {
	widths := t.widths()
	shown, last := t.choose(widths, v.Width)
	if heading {
		names := make([]string, len(t.columns))
		for i, c := range t.columns {
			names[i] = c.name
		}
		io.WriteString(w, v.paint(bold, strings.TrimPrefix(t.line(row{cells: names}, widths, shown, last), v.noMark()))+"\n")
	}
	for _, r := range t.rows {
		line := t.line(r, widths, shown, last)
		mark := r.mark
		if mark == "" {
			mark = " "
		}
		if v.Plain {
			io.WriteString(w, line[2:]+"\n")
			continue
		}
		io.WriteString(w, v.paint(r.colour, mark)+line[1:]+"\n")
	}
}

// noMark is the room of the marks, if there are none.
func (v view) noMark() string {
	if v.Plain {
		return "  "
	}
	return ""
}

// line is a row without its mark: a space stands for it.
func (t *table) line(r row, widths []int, shown []bool, last int) string {
	var b strings.Builder
	b.WriteByte(' ')
	gap := " "
	for i, c := range t.columns {
		if !shown[i] {
			continue
		}
		b.WriteString(gap)
		gap = "  "
		if i == len(t.columns)-1 {
			b.WriteString(cut(r.cells[i], last))
		} else {
			b.WriteString(pad(r.cells[i], widths[i], c.right))
		}
	}
	return strings.TrimRight(b.String(), " ")
}
