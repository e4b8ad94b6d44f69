package sim

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A measured run of bench-storm, which boots machines in namespaces; storm.json
// in docs/bench has them all.
type measured struct {
	System, Scene, Failed string
	Machines              int
	Rate                  int64   // of each cable, bits per second
	Kind                  float64 // how long a boot computes, in units of W/c; below 0: the whole image is fetched
	Last, Copies          float64
}

// payload is what TCP carries of a frame.
const payload = 1448.0 / 1514

// tolerance is how wrong the simulator may be about a time.
const tolerance = 0.15

// racked is the scene of bench-storm with racks, whose uplinks have a quarter of
// what their machines have.
const racked = "4 racks"

// hall is the same run, to be simulated: the load of bench-storm.
func (m measured) hall() Hall {
	h := Hall{
		Machines: m.Machines, Link: float64(m.Rate) / 8 * payload, PieceBytes: 64 << 10, BlockBytes: 16 << 10, Pieces: 400, Hot: 160,
		Compute: max(0, m.Kind), Surprise: 20, Idle: m.Kind < 0, Full: m.Kind < 0, Seed: 1, Rules: big.Rules,
	}
	if m.Scene == racked {
		h.Racks, h.Uplink, h.Blind = 4, h.Link*float64(m.Machines)/16, m.System != "swarmboot"
	}
	return h
}

// compare simulates what has been measured of our own swarm, and tells how far
// the simulator is from it.
func compare(t *testing.T, dir string) string {
	text, err := os.ReadFile(filepath.Join(dir, "storm.json"))
	if err != nil {
		t.Log(err)
		return ""
	}
	var storm struct{ Runs []measured }
	if err := json.Unmarshal(text, &storm); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, m := range storm.Runs {
		ours := m.System == "swarmboot" && m.Scene == "" || m.Scene == racked
		if !ours || m.Failed != "" || m.Machines < 8 {
			continue
		}
		what := fmt.Sprintf("boot, C = %.1f W/c", m.Kind)
		if m.Scene == racked {
			what += ", " + strings.Replace(m.System, "swarmboot", racked, 1)
		}
		r := m.hall().Boot()
		last, copies := r.LastBoot, r.AllCopies(r.Hot)
		if m.Kind < 0 {
			what, last, copies = "whole image", r.LastDone, r.AllCopies(r.Pieces)
		}
		wrong := last.Seconds()/m.Last - 1
		percent := fmt.Sprintf("%+.0f %%", 100*wrong)
		if math.Abs(wrong) > tolerance {
			percent = "**" + percent + "**"
		}
		line := fmt.Sprintf("| %d | %s | %.2f s | %.2f s | %s | %.2f | %.2f |", m.Machines, what, m.Last, last.Seconds(), percent, m.Copies, copies)
		t.Log(line)
		fmt.Fprintln(&b, line)
	}
	return b.String()
}
