package fleet

import (
	"testing"

	"swarmboot/initramfs/stage"
)

func TestBytesFromPeersOnlyGrow(t *testing.T) {
	s := newStory()
	for _, n := range []int64{100, 250, 40, 50} { // it boots anew after the second
		s.say(stage.Report{Stage: stage.Root, Image: "lab@1", Progress: &stage.Progress{FromPeers: n}})
	}
	if got := s.Given("lab@1"); got != 300 {
		t.Errorf("Given = %d; want 250 and 50", got)
	}
}
