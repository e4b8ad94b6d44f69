package vm

import (
	"net/netip"
	"os"
	"regexp"
	"strings"
	"testing"
)

func TestMatch(t *testing.T) {
	login, failed := regexp.MustCompile(`\S+ login:`), regexp.MustCompile(`Failed to start (\w+)`)
	patterns := []*regexp.Regexp{login, failed}
	for _, test := range []struct {
		text, matched, rest string
		which               int
	}{
		{text: "", rest: ""},
		{text: "Starting\nStill st", rest: "Still st"},
		{text: "a\nlab login: ", which: 0, matched: "lab login:", rest: " "},
		{text: "lab login: [  9.1] eth0: up", matched: "lab login:", rest: " [  9.1] eth0: up"},
		{text: "Failed to start ssh\r\nlab login: ", which: 1, matched: "Failed to start ssh", rest: "\r\nlab login: "},
	} {
		which, groups, rest := match([]byte(test.text), patterns)
		matched := ""
		if groups != nil {
			matched = groups[0]
		}
		if which != test.which || matched != test.matched || string(rest) != test.rest {
			t.Errorf("match(%q) = %d, %q, %q; want %d, %q, %q", test.text, which, groups, rest, test.which, test.matched, test.rest)
		}
	}
}

func TestTail(t *testing.T) {
	got := tail([]byte("one\r\n\x1b[0;32mtwo\x1b[0m\r\n\r\nthree"), 2)
	if want := "  | two\n  | three"; got != want {
		t.Errorf("tail = %q; want %q", got, want)
	}
}

// The probe must succeed where machines run, else a computer with a working
// KVM would be taken for one without.
func TestProbe(t *testing.T) {
	skipUnlessMachines(t)
	if err := probe(t.Context(), "tcg"); err != nil {
		t.Error(err)
	}
}

func TestLANLeavesNothing(t *testing.T) {
	skipUnlessMachines(t)
	name := TempName("swarmboot-vm-test", 0)
	lan, err := NewLAN(name, netip.MustParsePrefix("10.78.0.1/24"), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	stubborn := lan.Command(t.Context(), "sh", "-c", "trap '' TERM; echo up; while :; do sleep 1; done")
	out, err := stubborn.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := stubborn.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
	if err := lan.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if Exists(name) {
		t.Error("the namespace is still there")
	}
	if err := stubborn.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("a program inside ended with %v; want it killed", err)
	}
}

func skipUnlessMachines(t *testing.T) {
	if os.Getenv("SWARMBOOT_E2E") != "1" {
		t.Skip("starts machines; run by make e2e (SWARMBOOT_E2E=1)")
	}
	if err := Missing(); err != nil {
		t.Fatal(err)
	}
}
