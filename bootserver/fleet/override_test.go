package fleet

import (
	"testing"

	"swarmboot/initramfs/stage"
)

// boots lets one machine boot as it does under full DHCP, or where DHCP is another
// server's, and returns what the settings-or-override said at its scripts.
func (s *story) boots(withDHCP bool) (scripts []string) {
	if withDHCP {
		s.discover(false)
		s.reach(stage.Loader)
	}
	for range 2 { // its loader tries twice
		scripts = append(scripts, s.Override(m1))
		s.UseOverride(m1)
		s.reach(stage.Script)
	}
	s.reach(stage.Kernel, stage.Init, stage.Ready, stage.Seeding)
	return scripts
}

func TestOverrideHoldsForOneBoot(t *testing.T) {
	for name, withDHCP := range map[string]bool{"full DHCP": true, "another's DHCP": false} {
		s := newStory()
		s.boots(withDHCP)
		s.SetOverride(one, &Override{Image: "lab@2"})
		s.SetOverride(one, &Override{Image: "lab@3"}) // the later word counts
		if got := s.status().Override; got == nil || got.Image != "lab@3" || got.Boot != 0 {
			t.Errorf("%s: before the boot it is %+v", name, got)
		}
		for i, want := range []string{"lab@3", "", ""} {
			if got := s.boots(withDHCP); got[0] != want || got[1] != want {
				t.Errorf("%s: scripts of boot %d name %q; want %q", name, i, got, want)
			}
		}
		if got := s.status().Override; got != nil {
			t.Errorf("%s: it is left over: %+v", name, got)
		}
	}
}

func TestOverrideThatStays(t *testing.T) {
	s := newStory()
	s.SetOverride(one, &Override{Image: "lab@2", Stays: true})
	for range 3 {
		if got := s.boots(true); got[0] != "lab@2" || got[1] != "lab@2" {
			t.Errorf("scripts name %q; want lab@2", got)
		}
	}
}
