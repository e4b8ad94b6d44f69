package dhcp

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"swarmboot/bootserver/internal/leasestore"
)

// TestTheOldestDISCOVERIsDroppedFirst: whoever sent it has perhaps asked again.
func TestTheOldestDISCOVERIsDroppedFirst(t *testing.T) {
	s, _ := serverWith(t, Full) // no worker runs
	s.queue.run = &serving{ctx: t.Context()}
	data, begun := readHex(t, "ovmf-2022.11.discover.hex"), time.Now()
	for i := range maxBegin + 5 {
		s.queue.put(inbound{data: data, from: local, at: begun.Add(time.Duration(i))})
	}
	if got := s.Stats().Dropped; got != 5 {
		t.Errorf("dropped %d of %d DISCOVERs; want 5", got, maxBegin+5)
	}
	if first := <-s.queue.begin; first.at != begun.Add(5) {
		t.Errorf("number %d is the first that waits; want 5", first.at.Sub(begun))
	}
	s.queue.put(inbound{data: data[:20], from: local})
	if got := s.Stats().Ignored; got != 1 {
		t.Errorf("ignored %d packets; want 1, which is cut off", got)
	}
}

func TestADISCOVERThatHasWaitedTooLongIsDropped(t *testing.T) {
	s, _ := serverWith(t, Full)
	ctx, cancel := context.WithCancel(t.Context())
	run := &serving{ctx: ctx}
	s.queue.put(inbound{data: readHex(t, "ovmf-2022.11.discover.hex"), from: local, at: time.Now().Add(-patience)})
	s.queue.start(run)
	for s.Stats().Dropped == 0 {
		if t.Context().Err() != nil || s.Stats().Ignored+s.Stats().Failed > 0 {
			t.Fatalf("%+v; want a packet dropped", s.Stats())
		}
		time.Sleep(time.Millisecond)
	}
	cancel()
	run.wg.Wait()
}

// TestWhatWaitsForTheDiskStopsNobody: a REQUEST whose lease cannot be written yet
// does not keep others from being handled, and too many such are dropped.
func TestWhatWaitsForTheDiskStopsNobody(t *testing.T) {
	s, _ := serverWith(t, Full)
	disk := &slowDisk{Store: s.store, claims: make(chan leasestore.Lease), turn: make(chan struct{})}
	hall := Pool{First: netip.MustParseAddr("10.77.1.0"), Last: netip.MustParseAddr("10.77.250.255"), Lease: time.Hour}
	(*s.networks.Load())[0].leases = newLeases("hall", hall, map[netip.Addr]lease{}, disk)
	ctx, cancel := context.WithCancel(t.Context())
	run := &serving{ctx: ctx}
	s.queue.start(run)
	request := func(i int) inbound {
		return inbound{from: local, data: changed(t, "ovmf-2022.11.request.hex", func(p *dhcpv4.DHCPv4) {
			p.ClientHWAddr = []byte{0x52, 0x54, 0, 1, byte(i >> 8), byte(i)}
			p.UpdateOption(dhcpv4.OptRequestedIPAddress(ip(fromNumber(toNumber(hall.First) + uint32(i)))))
		})}
	}
	for i := range maxGoOn {
		s.queue.put(request(i))
	}
	for range maxGoOn {
		<-disk.claims // all wait at the same time
	}
	s.queue.put(request(maxGoOn))
	if got := s.Stats().Dropped; got != 1 {
		t.Errorf("dropped %d of %d REQUESTs; want 1", got, maxGoOn+1)
	}
	close(disk.turn)
	cancel()
	run.wg.Wait()
	if got := s.Stats().Failed; got != maxGoOn {
		t.Errorf("%d REQUESTs got no answer; want %d, whose leases are not on disk", got, maxGoOn)
	}
}

// slowDisk is a Store whose claims wait for their turn, and then fail.
type slowDisk struct {
	leasestore.Store
	claims chan leasestore.Lease
	turn   chan struct{}
}

func (d *slowDisk) Claim(_ context.Context, l leasestore.Lease, _ time.Time) error {
	d.claims <- l
	<-d.turn
	return leasestore.ErrUnavailable
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
