package dhcp

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"swarmboot/bootserver/internal/leasestore"
)

// TestTheOldestDISCOVERIsDroppedFirst: whoever sent it has perhaps asked again.
func TestTheOldestDISCOVERIsDroppedFirst(t *testing.T) {
	s, _ := serverWith(t, Off)
	data, late := readHex(t, "ovmf-2022.11.discover.hex"), time.Now().Add(-behind)
	for i := range maxWaiting + 5 { // no worker runs
		s.admit(t.Context(), inbound{data: data, from: local, at: late.Add(-time.Duration(maxWaiting - i))})
	}
	if got := s.Stats().Dropped; got != 5 {
		t.Errorf("dropped %d of %d DISCOVERs; want 5", got, maxWaiting+5)
	}
	if first := <-s.waiting; first.at != late.Add(5-maxWaiting) {
		t.Errorf("number %d is the first that waits; want 5", maxWaiting+first.at.Sub(late))
	}
}

func TestADISCOVERThatHasWaitedTooLongIsDropped(t *testing.T) {
	s, _ := serverWith(t, Off)
	discover := readHex(t, "ovmf-2022.11.discover.hex")
	s.admit(t.Context(), inbound{data: discover, from: local, at: time.Now().Add(time.Hour)}) // on a fresh clock
	s.admit(t.Context(), inbound{data: discover[:20], from: local, at: time.Now()})
	if got := s.Stats(); got.Dropped != 0 || got.Ignored != 2 {
		t.Errorf("%+v; want one looked at and ignored, and one that is cut off", got)
	}
	s.admit(t.Context(), inbound{data: discover, from: local, at: time.Now().Add(-patience)})
	ctx, stop := context.WithCancel(t.Context())
	go s.work(ctx)
	for s.Stats().Dropped == 0 && s.Stats().Ignored == 2 && t.Context().Err() == nil {
		time.Sleep(time.Millisecond)
	}
	stop()
	if got := s.Stats(); got.Dropped != 1 || got.Ignored != 2 {
		t.Errorf("%+v; want it dropped", got)
	}
}

// TestWhatWaitsForTheDiskStopsNobody: a REQUEST whose lease cannot be written yet
// does not keep others from being handled, up to a limit.
func TestWhatWaitsForTheDiskStopsNobody(t *testing.T) {
	s, _ := serverWith(t, Full)
	disk := &slowDisk{Store: s.store}
	hall := Pool{First: netip.MustParseAddr("10.77.1.0"), Last: netip.MustParseAddr("10.77.250.255"), Lease: time.Hour}
	(*s.networks.Load())[0].leases = newLeases("hall", hall, map[key]lease{}, disk)
	request := func(i int) inbound {
		return inbound{from: local, data: changed(t, "ovmf-2022.11.request.hex", func(p *dhcpv4.DHCPv4) {
			p.ClientHWAddr = []byte{0x52, 0x54, 0, 1, byte(i >> 8), byte(i)}
			p.UpdateOption(dhcpv4.OptRequestedIPAddress(ip(fromNumber(toNumber(hall.First) + uint32(i)))))
		})}
	}
	ctx, stop := context.WithCancel(t.Context())
	for i := range maxUnsettled {
		s.admit(ctx, request(i))
	}
	claims := disk.claims
	if len(claims) != maxUnsettled {
		t.Fatalf("%d leases are on their way to the disk; want %d", len(claims), maxUnsettled)
	}
	var running sync.WaitGroup
	running.Go(func() { s.admit(ctx, request(maxUnsettled)) }) // waits for a place
	for _, done := range claims {
		done <- leasestore.ErrUnavailable
	}
	running.Go(func() { s.settle(ctx) })
	for s.Stats().Failed < maxUnsettled && t.Context().Err() == nil {
		time.Sleep(time.Millisecond)
	}
	stop() // and so does the last one stop to wait
	running.Wait()
	if got := s.Stats().Failed; got < maxUnsettled || got > maxUnsettled+1 {
		t.Errorf("%d REQUESTs got no answer; want %d, whose leases are not on disk", got, maxUnsettled)
	}
}

// slowDisk is a Store whose claims wait for the test.
type slowDisk struct {
	leasestore.Store
	claims []chan error
}

func (d *slowDisk) Begin(leasestore.Lease, time.Time) <-chan error {
	d.claims = append(d.claims, make(chan error, 1))
	return d.claims[len(d.claims)-1]
}

func TestMessageTypeIsFoundAnywhere(t *testing.T) {
	head := make([]byte, 240)
	for options, want := range map[string]bool{
		"\x35\x01\x01":                  true,
		"\x00\x00\x3c\x01x\x35\x01\x01": true,
		"\x35\x01\x03":                  false,
		"\x3c\xf0x":                     false,
		"\x35":                          false,
		"":                              false,
	} {
		if got := isDiscover(append(head[:240:240], options...)); got != want {
			t.Errorf("isDiscover with options %q = %v; want %v", options, got, want)
		}
	}
	if isDiscover(head[:100]) {
		t.Error("isDiscover of a packet that is cut off")
	}
}
