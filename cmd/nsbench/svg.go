package main

import (
	"fmt"
	"html"
	"math"
	"strconv"
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
	labelWidth = 440
	valueWidth = 80
	barHeight  = 18
	barStep    = 24
	titleStep  = 34
	axisHeight = 22
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
	fmt.Fprintf(b, `<text x="10" y="%d" font-weight="bold">%s (%s)</text>`+"\n", y+18, html.EscapeString(t.title), html.EscapeString(t.unit))
	y += titleStep
	most := 0.0
	for _, x := range t.bars {
		most = max(most, x.value)
	}
	scale := 0.0
	if most > 0 {
		scale = (plotWidth - labelWidth - valueWidth) / most
	}
	axis(b, scale, most, y, y+len(t.bars)*barStep)
	for _, x := range t.bars {
		colour := "#9aa5b1"
		if strings.HasPrefix(x.label, "nsinit") {
			colour = "#1f6feb"
		}
		width := x.value * scale
		fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="end">%s</text><rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/><text x="%.1f" y="%d">%s</text>`+"\n",
			labelWidth-8, y+14, html.EscapeString(x.label), labelWidth, y, width, barHeight, colour, labelWidth+width+6, y+14, threeDigits(x.value))
		y += barStep
	}
	return y + axisHeight + 8
}

// axis draws a line and a number at each round step of the scale.
func axis(b *strings.Builder, scale, most float64, top, bottom int) {
	step := roundStep(most / 5)
	for v := 0.0; step > 0 && v <= most; v += step {
		x := labelWidth + v*scale
		fmt.Fprintf(b, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#d0d7de"/><text x="%.1f" y="%d" text-anchor="middle" font-size="11" fill="#57606a">%s</text>`+"\n",
			x, top-4, x, bottom, x, bottom+13, strconv.FormatFloat(v, 'g', 6, 64))
	}
}

// roundStep is the smallest of 1, 2 and 5 times a power of ten that is at least v.
func roundStep(v float64) float64 {
	if v <= 0 {
		return 0
	}
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, n := range []float64{1, 2, 5} {
		if n*power >= v {
			return n * power
		}
	}
	return 10 * power
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
