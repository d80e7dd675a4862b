package main

import (
	"fmt"
	"html"
	"strings"
)

// bar is one line of a plot.
type bar struct {
	label string
	value float64
}

// The plot's measures, in SVG units.
const (
	plotWidth  = 900
	labelWidth = 420
	valueWidth = 80
	barHeight  = 18
	barStep    = 24
	titleStep  = 34
)

// plot draws the bars of every table that has any, one panel below the other,
// each with a scale of its own that begins at 0.
func plot(tables []table) string {
	var body strings.Builder
	y := 10
	for _, t := range tables {
		if len(t.bars) > 0 {
			y = panel(&body, t, y)
		}
	}
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="13">`+"\n"+
		`<rect width="%d" height="%d" fill="#ffffff"/>`+"\n%s</svg>\n", plotWidth, y+10, plotWidth, y+10, body.String())
}

func panel(b *strings.Builder, t table, y int) int {
	fmt.Fprintf(b, `<text x="10" y="%d" font-weight="bold">%s (%s)</text>`+"\n", y+18, html.EscapeString(t.title), t.unit)
	y += titleStep
	most := 0.0
	for _, x := range t.bars {
		most = max(most, x.value)
	}
	for _, x := range t.bars {
		width := 0.0
		if most > 0 {
			width = x.value / most * (plotWidth - labelWidth - valueWidth)
		}
		colour := "#9aa5b1"
		if strings.HasPrefix(x.label, "nsinit") {
			colour = "#1f6feb"
		}
		fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="end">%s</text><rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/><text x="%.1f" y="%d">%s</text>`+"\n",
			labelWidth-8, y+14, html.EscapeString(x.label), labelWidth, y, width, barHeight, colour, labelWidth+width+6, y+14, threeDigits(x.value))
		y += barStep
	}
	return y + 8
}

// threeDigits writes a number with about three digits that count.
func threeDigits(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}
