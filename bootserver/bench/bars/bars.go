// Package bars draws the pictures of the benchmarks in bootserver/bench: charts
// of bars below each other, as SVG.
package bars

import (
	"html/template"
	"strings"
)

// A Chart compares some values.
type Chart struct {
	Title string
	Bars  []Bar
	Most  float64 // what the longest bar stands for, others are cut there; 0: the largest value
	Line  float64 // a line is drawn at this value; 0: none
}

// A Bar is one of them.
type Bar struct {
	Name   string
	Value  float64
	Figure string // the value as it is written beside the bar
	Ours   bool   // it is dark
}

// Sizes in pixels.
const (
	pageWidth = 720
	perLetter = 6.5
	perBar    = 20
	figures   = 90
)

// Draw is the picture of some charts, those without bars left out.
func Draw(charts []Chart) (svg string, err error) {
	type line struct{ X, Top, Bottom int }
	type bar struct {
		Bar
		Left, Y, TextY, Width, End, NameEnd int
		Colour                              string
	}
	type title struct {
		Text string
		Y    int
	}
	var titles []title
	var all []bar
	var lines []line
	names := 0
	for _, c := range charts {
		for _, b := range c.Bars {
			names = max(names, len(b.Name))
		}
	}
	left := 16 + int(perLetter*float64(names)) + 10
	room := float64(pageWidth - left - figures)
	y := 10
	for _, c := range charts {
		if len(c.Bars) == 0 {
			continue
		}
		most := c.Most
		for _, b := range c.Bars {
			if c.Most == 0 {
				most = max(most, b.Value)
			}
		}
		y += perBar
		titles = append(titles, title{c.Title, y})
		top := y + 6
		for _, b := range c.Bars {
			y += perBar
			width := int(room*min(b.Value, most)/most) + 1
			colour := "#b8c4d0"
			if b.Ours {
				colour = "#1f4e79"
			}
			all = append(all, bar{b, left, y - 11, y, width, left + width + 6, left - 8, colour})
		}
		if c.Line > 0 {
			lines = append(lines, line{left + int(room*c.Line/most), top, y + 6})
		}
		y += 16
	}
	var text strings.Builder
	err = picture.Execute(&text, map[string]any{"Width": pageWidth, "Height": y, "Titles": titles, "Bars": all, "Lines": lines})
	return text.String(), err
}

var picture = template.Must(template.New("svg").Parse(`<svg xmlns="http://www.w3.org/2000/svg" width="{{.Width}}" height="{{.Height}}" font-family="sans-serif" font-size="12">
<rect width="100%" height="100%" fill="#fff"/>
{{- range .Titles}}
<text x="16" y="{{.Y}}" font-weight="bold">{{.Text}}</text>
{{- end}}
{{- range .Bars}}
<text x="{{.NameEnd}}" y="{{.TextY}}" text-anchor="end">{{.Name}}</text><rect x="{{.Left}}" y="{{.Y}}" width="{{.Width}}" height="14" fill="{{.Colour}}"/><text x="{{.End}}" y="{{.TextY}}">{{.Figure}}</text>
{{- end}}
{{- range .Lines}}
<path d="M{{.X}} {{.Top}}V{{.Bottom}}" stroke="#c33" stroke-dasharray="4"/>
{{- end}}
</svg>
`))
