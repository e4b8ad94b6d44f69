package dhcp

import (
	"testing"
)

func TestDISCOVERsAreDroppedFirst(t *testing.T) {
	s, _ := serverWith(t, Full) // no worker runs
	discover, request := readHex(t, "ovmf-2022.11.discover.hex"), readHex(t, "ovmf-2022.11.request.hex")
	for range queueLen + 5 {
		s.queue.put(inbound{data: discover, from: local})
	}
	if got := s.Stats().Dropped; got != 5 {
		t.Errorf("dropped %d of %d DISCOVERs; want 5", got, queueLen+5)
	}
	s.queue.put(inbound{data: request, from: local})
	if got := s.Stats().Dropped; got != 5 {
		t.Error("a REQUEST was dropped because of DISCOVERs")
	}
	s.queue.put(inbound{data: request[:20], from: local})
	if got := s.Stats().Ignored; got != 1 {
		t.Errorf("ignored %d packets; want 1, which is cut off", got)
	}
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
