package bars

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestOursIsDarkAndAllAreThere(t *testing.T) {
	svg, err := Draw([]Chart{
		{Title: "time & more", Most: 2, Line: 1, Bars: []Bar{{"ours", 1, "1.00", true}, {"theirs", 5, "5.00", false}}},
		{Title: "nothing"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"time &amp; more", ">ours<", ">5.00<", `fill="#1f4e79"`, "<path"} {
		if !strings.Contains(svg, want) {
			t.Errorf("the picture lacks %q:\n%s", want, svg)
		}
	}
	if strings.Contains(svg, "nothing") {
		t.Error("a chart without bars is drawn")
	}
	d := xml.NewDecoder(strings.NewReader(svg))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
}
