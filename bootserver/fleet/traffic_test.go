package fleet

import (
	"testing"

	"swarmboot/initramfs/stage"
)

func TestBytesFromPeersOnlyGrow(t *testing.T) {
	s := newStory()
	for _, n := range []int64{100, 250, 40, 50} { // it boots anew after the second
		s.say(stage.Report{Stage: stage.Root, Image: "lab@1", Progress: &stage.Progress{FromPeers: n, FromFar: n / 10}})
	}
	if all, far := s.Given("lab@1"); all != 300 || far != 30 {
		t.Errorf("Given = %d, of these %d from rack to rack; want 250 and 50, 25 and 5", all, far)
	}
}
