package bootserver

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"swarmboot/bootserver/internal/bootweb"
	"swarmboot/images"
	"swarmboot/images/catalogue"
	"swarmboot/images/catalogue/cataloguetest"
	"swarmboot/images/delta"
	"swarmboot/initramfs/stage"
)

// A machine that has booted lab@1 and is to boot lab@2 is told what they have in
// common, and nothing of images that it has not booted.
func TestDeltaForWhatAMachineHasBooted(t *testing.T) {
	l := newLab(t)
	s := l.new(t)
	m := l.Machines[0]
	root := bytes.Repeat([]byte("root of the image"), 40_000)
	next := cataloguetest.Add(t, l.images, l.key, "lab@2", append([]byte("new"), root...))
	if paths := s.deltaPaths(m.MAC, next); len(paths) != 0 {
		t.Errorf("a machine that has booted nothing is told of %v", paths)
	}
	for range 2 { // the first is among the past ones when the second begins
		s.fleet.Discovered(m.known(), false, time.Now())
		s.fleet.Report(stage.Report{Machine: m.MAC.String(), Stage: stage.Init, Image: "lab@1"}, time.Now())
	}
	lab1 := images.Ref{Name: "lab", Version: "1"}
	if paths := s.deltaPaths(m.MAC, next); len(paths) != 1 || paths[0] != bootweb.DeltaPath(next, lab1) {
		t.Errorf("deltaPaths() = %v; want that from lab@1", paths)
	}
	if _, err := s.delta(next.Digest, lab1); !errors.Is(err, bootweb.ErrUnknown) {
		t.Errorf("delta to an image that is not on offer = %v", err)
	}
	s.offers[next.Digest] = &offer{Image: next}
	data, err := s.delta(next.Digest, lab1)
	if err != nil {
		t.Fatal(err)
	}
	if d, err := delta.Parse(data); err != nil || d.Size != next.Manifest.Root.Size || len(d.Copies) == 0 {
		t.Errorf("delta = %+v, %v", d, err)
	}
	if _, err := s.delta(next.Digest, images.Ref{Name: "lab", Version: "7"}); !errors.Is(err, catalogue.ErrNotFound) {
		t.Errorf("delta from an image that is not there = %v", err)
	}
}
