package bootserver

import (
	"testing"
	"time"

	"swarmboot/bootserver/internal/dhcp"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func TestThroughput(t *testing.T) {
	m := newMeter()
	for i := range int64(keptSeconds + 5) {
		m.sample([]SwarmStatus{{Image: "lab@1", SeederBytes: 100 * i, HTTPBytes: 10 * i, PeerBytes: 1000 + 7*i, FarBytes: 3 * i}}, noon.Add(time.Duration(i)*time.Second))
	}
	got := m.of("lab@1")
	if len(got.Server) != keptSeconds || got.Server[0] != 110 || got.Peers[keptSeconds-1] != 7 || got.Far[0] != 3 {
		t.Errorf("throughput of %d seconds, %d, %d, %d; want %d, 110, 7, 3", len(got.Server), got.Server[0], got.Peers[keptSeconds-1], got.Far[0], keptSeconds)
	}
	if none := m.of("other@1"); none.Server == nil || len(none.Server) != 0 {
		t.Errorf("throughput of an unknown image = %+v", none)
	}
}

func TestStrangersAreBounded(t *testing.T) {
	s := newStrangers()
	for i := range maxStrangers + 10 {
		s.heard(dhcp.Client{MAC: dhcp.MAC{0x52, 0, 0, 0, byte(i >> 8), byte(i)}, Program: dhcp.Firmware}, noon.Add(time.Duration(i)*time.Second))
	}
	s.heard(dhcp.Client{MAC: dhcp.MAC{0x52, 0, 0, 0, 0, 20}}, noon.Add(time.Hour))
	got := s.list()
	if len(got) != maxStrangers || got[0].MAC != "52:00:00:00:00:14" || got[0].Asked != 2 || !got[0].First.Equal(noon.Add(20*time.Second)) {
		t.Errorf("%d strangers, first %+v; want %d, the one heard last first", len(got), got[0], maxStrangers)
	}
}
