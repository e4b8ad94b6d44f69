package bootserver

import (
	"strings"
	"testing"
	"time"

	"swarmboot/bootserver/internal/dhcp"
	"swarmboot/initramfs/stage"
)

func TestMatesOfARack(t *testing.T) {
	var m mates
	now := time.Now()
	serves := stage.BootServing{Files: []string{"lab"}}
	if !m.choose("a", "r1", "lab", now) || !m.choose("b", "r1", "lab", now) || m.choose("c", "r1", "lab", now) {
		t.Error("want two of a rack to be chosen, and no third")
	}
	if !m.choose("d", "r2", "lab", now) || !m.choose("c", "r1", "web", now) {
		t.Error("another rack, and another image, have mates of their own")
	}
	if got := m.pick("c", "r1", "lab", now); got != "" {
		t.Errorf("%s is named before it is ready", got)
	}
	m.heard("d", "r2", serves, now)
	if got := m.pick("c", "r1", "lab", now); got != "" {
		t.Errorf("%s is named, which is in another rack or not ready", got)
	}
	m.heard("a", "r1", serves, now)
	if got := m.pick("c", "r1", "lab", now); got != "a" {
		t.Errorf("%q is named; want a", got)
	}
	if got := m.pick("a", "r1", "lab", now); got != "" {
		t.Errorf("a machine is named to itself")
	}
	if sent := m.heard("a", "r1", stage.BootServing{Sent: 10}, now) + m.heard("a", "r1", stage.BootServing{Sent: 15}, now); sent != 15 {
		t.Errorf("it has sent %d; want 15", sent)
	}

	later := now.Add(mateSilence)
	if got := m.pick("c", "r1", "lab", later); got != "" {
		t.Errorf("%s is named, which is silent", got)
	}
	if !m.choose("e", "r1", "lab", later) {
		t.Error("nobody takes the place of one that is silent")
	}
	m.heard("e", "r1", serves, later)
	m.forget("e")
	if got := m.pick("c", "r1", "lab", later); got != "" {
		t.Errorf("%s is named, which boots anew", got)
	}
	if !m.choose("f", "r1", "lab", now.Add(mateFetches)) {
		t.Error("nobody takes the place of one that never got ready")
	}
}

// TestMateIsNamed goes from the description of one machine, by its report, to the
// script of another.
func TestMateIsNamed(t *testing.T) {
	l := newLab(t)
	for i := range l.Machines {
		l.Machines[i].BootFromPeers = true
	}
	s := l.new(t)
	one, other := l.Machines[0], l.Machines[1]
	mac, _ := dhcp.ToMAC(one.MAC)
	s.dhcp.Learn(mac, one.Address)
	serving := &stage.BootServing{Sent: 7}
	for _, f := range s.keeps(one, l.image) {
		serving.Files = append(serving.Files, f.SHA256)
	}
	if len(serving.Files) != 3 {
		t.Fatalf("it is to serve %v; want initramfs, kernel and modules", serving.Files)
	}
	if got := s.mate(other, l.image); got != "" {
		t.Errorf("%s is named before it serves", got)
	}
	s.report(stage.Report{Machine: one.MAC.String(), Stage: stage.Seeding, Image: "lab@1", Progress: &stage.Progress{Serving: serving}})
	if got := s.mate(other, l.image); got != "http://10.77.0.22:6882" {
		t.Errorf("%q is named; want the first machine", got)
	}
	if got := s.fleet.BootGiven("lab@1"); got != 7 {
		t.Errorf("machines gave each other %d bytes; want 7", got)
	}
	other.BootFromPeers = false
	if got := s.mate(other, l.image); got != "" || s.keeps(other, l.image) != nil {
		t.Errorf("a machine without boot_from_peers is told of %q", got)
	}
}

// A machine without boot_from_peers cannot make itself one that others boot from.
func TestNobodyMakesItselfAMate(t *testing.T) {
	l := newLab(t)
	l.Machines[1].BootFromPeers = true
	s := l.new(t)
	one, other := l.Machines[0], l.Machines[1]
	mac, _ := dhcp.ToMAC(one.MAC)
	s.dhcp.Learn(mac, one.Address)
	boots, _ := s.bootFilesOf(l.image)
	s.report(stage.Report{Machine: one.MAC.String(), Stage: stage.Seeding, Image: "lab@1",
		Progress: &stage.Progress{Serving: &stage.BootServing{Files: strings.Fields(boots)}}})
	if got := s.mate(other, l.image); got != "" {
		t.Errorf("%s is named", got)
	}
}
