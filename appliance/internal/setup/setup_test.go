package setup

import (
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"swarmboot/appliance/internal/settings"
	"swarmboot/images"
)

var cards = []Card{
	{Name: "eth0", MAC: "52:54:00:77:00:10", Plugged: true, Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.7/24")}},
	{Name: "eth1", MAC: "52:54:00:77:00:11", Plugged: true},
	{Name: "eth2", MAC: "52:54:00:77:00:12"},
}

// converse gives the lines as answers and returns what was found out and said.
func converse(t *testing.T, lines ...string) (Answers, string, error) {
	t.Helper()
	var said strings.Builder
	line := func() (string, error) {
		if len(lines) == 0 {
			return "", io.EOF
		}
		next := lines[0]
		lines = lines[1:]
		return next, nil
	}
	a, err := Ask(Console{Out: &said, Line: line, Secret: line}, cards, check)
	if err == nil && len(lines) > 0 {
		t.Errorf("%q was not asked for", lines)
	}
	return a, said.String(), err
}

func check(data []byte) error { return settings.Check("swarmboot.yaml", data, nothing) }

func nothing(string) ([]images.Ref, error) { return nil, nil }

func TestEnterIsEnough(t *testing.T) {
	a, said, err := converse(t, "", "", "", "", "", "", "")
	if err != nil {
		t.Fatalf("%v after:\n%s", err, said)
	}
	if got := string(a.Settings()); !strings.Contains(got, "interface: eth1\n    address: 10.77.0.1/24\n    pool: 10.77.0.100-10.77.0.199\n") {
		t.Errorf("settings:\n%s", got)
	}
	want := "[Match]\nPermanentMACAddress=52:54:00:77:00:11\n\n[Network]\nAddress=10.77.0.1/24\nConfigureWithoutCarrier=yes\n"
	if got := string(a.Network()); !strings.HasSuffix(got, want) {
		t.Errorf("network:\n%s\nwant it to end\n%s", got, want)
	}
	if a.HasAddress() {
		t.Error("eth1 is said to have its address already")
	}
}

func TestBesideAnotherServer(t *testing.T) {
	a, said, err := converse(t, "eth0", "", "", "192.0.2.1", "n", "y")
	if err != nil {
		t.Fatalf("%v after:\n%s", err, said)
	}
	got := string(a.Settings())
	if !strings.Contains(got, "address: 192.0.2.7/24\n    mode: proxy\n") || strings.Contains(got, "admin:") || strings.Contains(got, "router") {
		t.Errorf("settings:\n%s\nwant mode proxy, pages for this computer alone, and the router left to the other server", got)
	}
	if !a.HasAddress() {
		t.Error("eth0 is said not to have its address")
	}
	if network := string(a.Network()); !strings.Contains(network, "Gateway=192.0.2.1") {
		t.Errorf("network:\n%s\nwant the router", network)
	}
}

func TestMistakesAreAskedAgain(t *testing.T) {
	a, said, err := converse(t,
		"7", "3", "perhaps", "n", "10.1.2.3", "10.1.2.3/24", "10.1.2.20", "10.1.9.20-10.1.9.30", "here", "none", "y", // the pool is elsewhere
		"3", "n", "10.1.2.3/24", "10.1.2.20-10.1.2.30", "10.1.2.254", "y", "n", // not what was meant
		"3", "n", "10.1.2.3/24", "10.1.2.20-10.1.2.40", "10.1.2.254", "y", "y")
	if err != nil {
		t.Fatalf("%v after:\n%s", err, said)
	}
	for _, want := range []string{`"7" is none of them`, `"perhaps": want y or n`, `"10.1.2.3": want`, `"10.1.2.20": want FIRST-LAST`, "networks.lab.pool", `"here": want`} {
		if !strings.Contains(said, want) {
			t.Errorf("nothing was said like %q:\n%s", want, said)
		}
	}
	if got := a.Pool.String(); got != "10.1.2.20-10.1.2.40" {
		t.Errorf("pool = %s", got)
	}
}

func TestNobodyAnswers(t *testing.T) {
	if _, _, err := converse(t, "", ""); !errors.Is(err, io.EOF) {
		t.Errorf("error = %v; want %v", err, io.EOF)
	}
	if _, err := Ask(Console{Out: io.Discard}, nil, check); !errors.Is(err, ErrNoCard) {
		t.Errorf("without a card: %v; want %v", err, ErrNoCard)
	}
}

// Whatever network is chosen, what is proposed for it can be taken.
func TestProposedPool(t *testing.T) {
	for _, address := range []string{"10.77.0.1/24", "10.77.0.150/24", "10.77.0.100/24", "10.0.0.1/8", "192.0.2.254/25", "192.0.2.5/29", "192.0.2.6/29", "192.0.2.1/30", "192.0.2.2/30"} {
		own := netip.MustParsePrefix(address)
		a := Answers{Card: cards[1], Mode: "full", Address: own, Pool: proposedPool(own)}
		if err := check(a.Settings()); err != nil {
			t.Errorf("proposedPool(%s) = %v: %v", address, a.Pool, err)
		}
	}
}

func TestPassword(t *testing.T) {
	lines := []string{"one", "two", "three", "three"}
	c := Console{Out: io.Discard, Secret: func() (string, error) {
		next := lines[0]
		lines = lines[1:]
		return next, nil
	}}
	if got, err := c.Password("Password"); got != "three" || err != nil {
		t.Errorf("Password() = %q, %v; want the first that was the same twice", got, err)
	}
}

// The settings as they are installed are still to be begun; those written are not.
func TestBegun(t *testing.T) {
	data, err := os.ReadFile("../../package/swarmboot.yaml")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "swarmboot.yaml")
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	if begun, err := settings.Begun(path); begun || err != nil {
		t.Errorf("Begun = %v, %v; want false", begun, err)
	}
	a := Answers{Card: cards[1], Mode: "proxy", Address: netip.MustParsePrefix("10.77.0.1/24")}
	if err := settings.Replace(path, a.Settings(), nothing); err != nil {
		t.Fatal(err)
	}
	if begun, err := settings.Begun(path); !begun || err != nil {
		t.Errorf("Begun = %v, %v; want true", begun, err)
	}
}
