package bootserver

import (
	"testing"
	"time"

	"swarmboot/bootserver/internal/dhcp"
	"swarmboot/initramfs/stage"
)

func TestMatesOfARack(t *testing.T) {
	var m mates
	now := time.Now()
	serves := &stage.BootServing{}
	if !m.choose("a", "r1", "lab", now) || !m.choose("b", "r1", "lab", now) || m.choose("c", "r1", "lab", now) {
		t.Error("want two of a rack to be chosen, and no third")
	}
	if !m.choose("d", "r2", "lab", now) || !m.choose("c", "r1", "web", now) {
		t.Error("another rack, and another image, have mates of their own")
	}
	if got := m.pick("c", "r1", "lab", now); got != "" {
		t.Errorf("%s is named before it is ready", got)
	}
	m.heard("a", nil, now)
	m.heard("d", serves, now)
	if got := m.pick("c", "r1", "lab", now); got != "" {
		t.Errorf("%s is named, which is in another rack or not ready", got)
	}
	m.heard("a", serves, now)
	if got := m.pick("c", "r1", "lab", now); got != "a" {
		t.Errorf("%q is named; want a", got)
	}
	if got := m.pick("a", "r1", "lab", now); got != "" {
		t.Errorf("a machine is named to itself")
	}
	if sent := m.heard("a", &stage.BootServing{Sent: 10}, now) + m.heard("a", &stage.BootServing{Sent: 15}, now); sent != 15 {
		t.Errorf("it has sent %d; want 15", sent)
	}

	later := now.Add(mateSilence)
	if got := m.pick("c", "r1", "lab", later); got != "" {
		t.Errorf("%s is named, which is silent", got)
	}
	if !m.choose("e", "r1", "lab", later) {
		t.Error("nobody takes the place of one that is silent")
	}
	m.heard("e", serves, later)
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
	if files := s.keeps(one, l.image); len(files) != 3 {
		t.Fatalf("it is to serve %+v; want initramfs, kernel and modules", files)
	}
	if got := s.mate(other, l.image); got != "" {
		t.Errorf("%s is named before it serves", got)
	}
	s.report(stage.Report{Machine: one.MAC.String(), Stage: stage.Seeding, Image: "lab@1", Progress: &stage.Progress{Serving: &stage.BootServing{Sent: 7}}})
	if got := s.mate(other, l.image); got != "http://10.77.0.22:6882" {
		t.Errorf("%q is named; want the first machine", got)
	}
	if got := s.registry.bootGiven("lab@1"); got != 7 {
		t.Errorf("machines gave each other %d bytes; want 7", got)
	}
	other.BootFromPeers = false
	if got := s.mate(other, l.image); got != "" || s.keeps(other, l.image) != nil {
		t.Errorf("a machine without boot_from_peers is told of %q", got)
	}
}
