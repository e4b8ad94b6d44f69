package dhcp

import (
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// discover lets a machine ask for an address, and returns the verdict.
func discover(t *testing.T, s *Server) (verdict, inbound) {
	t.Helper()
	in := inbound{data: readHex(t, "ovmf-2022.11.discover.hex"), from: local}
	return s.handled(t.Context(), in.data, in.from), in
}

// probing is a server whose prober asks nobody, and hands packets back to again.
func probing(t *testing.T) (s *Server, again chan inbound, asked *[]netip.Addr) {
	s, _ = serverWith(t, Full)
	again, asked = make(chan inbound, 9), &[]netip.Addr{}
	s.prober = newProber(func(v verdict, _ inbound) error { *asked = append(*asked, v.suspect); return nil },
		func(_ verdict, in inbound) { again <- in }, func(in inbound) { again <- in }, s.log, &s.counters)
	return s, again, asked
}

func TestANewAddressIsLookedForOnce(t *testing.T) {
	s, again, asked := probing(t)
	synctest.Test(t, func(t *testing.T) {
		v, in := discover(t, s)
		if !v.suspect.IsValid() || !s.prober.ask(v, in) {
			t.Fatal("an address that is new to its machine was not looked for")
		}
		if v, in := discover(t, s); !s.prober.ask(v, in) || len(*asked) != 1 {
			t.Errorf("asked on the wire for %v; want one question, although the machine asks twice", *asked)
		}
		begun := time.Now()
		synctest.Wait()
		time.Sleep(probeWait + probeRound)
		synctest.Wait()
		if len(again) != 1 {
			t.Fatalf("%d packets came back after %v; want 1", len(again), time.Since(begun))
		}
		if after, _ := discover(t, s); after.suspect.IsValid() || !after.reply.YourIPAddr.Equal(v.reply.YourIPAddr) {
			t.Errorf("after the probe %s is offered, suspect %v; want %s, not suspect", after.reply.YourIPAddr, after.suspect, v.reply.YourIPAddr)
		}
	})
}

func TestAnAddressInUseIsSetAside(t *testing.T) {
	s, again, _ := probing(t)
	v, in := discover(t, s)
	s.prober.ask(v, in)
	s.prober.heard(v.suspect, v.client.MAC) // the machine itself: its own system was just shut down
	if len(again) != 0 {
		t.Error("the machine's own answer counted as another computer's")
	}
	s.prober.heard(address(250), m1)
	s.prober.heard(v.suspect, m1)
	if len(again) != 1 {
		t.Fatal("the packet did not come back")
	}
	if next, _ := discover(t, s); next.suspect == v.suspect || !next.suspect.IsValid() {
		t.Errorf("after %s was found in use %v is offered; want another, suspect as well", v.suspect, next.suspect)
	}
	if got := s.Stats().InUse; got != 1 {
		t.Errorf("addresses in use: %d; want 1", got)
	}
}

func TestWithoutRawSocketsNobodyWaits(t *testing.T) {
	s, _, _ := probing(t)
	s.prober.question = func(verdict, inbound) error { return errors.New("not permitted") }
	v, in := discover(t, s)
	if s.prober.ask(v, in) {
		t.Error("the packet waits for an answer to a question that was not asked")
	}
}

func TestReservedAddressesAreNotLookedFor(t *testing.T) {
	s, _ := serverWith(t, Full)
	n := lab
	n.Reserved = map[MAC]netip.Addr{{0x52, 0x54, 0, 0x77, 0, 2}: address(77)}
	if err := s.Reload([]Network{n}); err == nil {
		t.Fatal("Reload opened an interface that is not there")
	}
	(*s.networks.Load())[0].leases.setPool(n.pool())
	if v, _ := discover(t, s); v.suspect.IsValid() || addr(v.reply.YourIPAddr) != address(77) {
		t.Errorf("offer of %s, suspect %v; want 10.77.0.77, not suspect", v.reply.YourIPAddr, v.suspect)
	}
}

func TestARPPackets(t *testing.T) {
	b := arpProbe(m1, address(9))
	if len(b) != 28 || b[7] != 1 || netip.AddrFrom4([4]byte(b[24:])) != address(9) {
		t.Errorf("arpProbe = %x", b)
	}
	if _, _, ok := arpSender(b); ok {
		t.Error("another server's probe counts as use of 0.0.0.0")
	}
	copy(b[14:], address(9).AsSlice())
	if mac, a, ok := arpSender(b); !ok || mac != m1 || a != address(9) {
		t.Errorf("arpSender = %s, %s, %v; want %s, 10.77.0.9", mac, a, ok, m1)
	}
	if _, _, ok := arpSender(b[:27]); ok {
		t.Error("arpSender took a packet that is cut off")
	}
}
