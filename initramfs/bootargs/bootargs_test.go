package bootargs

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"swarmboot/initramfs/envelope"
)

var mac = net.HardwareAddr{0x52, 0x54, 0, 0x12, 0x34, 0x56}

func TestArgsRoundTrip(t *testing.T) {
	for _, want := range []Args{
		{Server: "http://10.77.0.1", MAC: mac},
		{Server: "http://10.77.0.1:8080", MAC: mac, Rescue: true, Prefetch: true},
	} {
		got, err := Parse("BOOT_IMAGE=vmlinuz quiet " + want.String() + " console=ttyS0\n")
		if err != nil || got.String() != want.String() {
			t.Errorf("Parse(%s) = %s, %v", want, got, err)
		}
	}
}

func TestParseNamesEveryProblem(t *testing.T) {
	_, err := Parse("swarmboot.server=ftp://x swarmboot.mac=zz swarmboot.sever=1")
	if err == nil {
		t.Fatal("Parse succeeded; want an error")
	}
	for _, part := range []string{"swarmboot.server=ftp://x: want http", "swarmboot.mac=zz", "swarmboot.sever: unknown"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("Parse error %q lacks %q", err, part)
		}
	}
	if _, err := Parse("quiet"); err == nil {
		t.Error("Parse without our arguments succeeded; want an error")
	}
}

func testDescription() Description {
	return Description{Machine: mac.String(), Name: "r1-n01", Image: "lab@1", Manifest: []byte(`{}`), Torrent: []byte("de"),
		Tracker: "http://10.77.0.1/announce", Seeder: "10.77.0.1:6881", Peers: []netip.AddrPort{netip.MustParseAddrPort("10.77.0.11:6881")}, RootURL: "http://10.77.0.1/root", Profile: []int{0, 7}}
}

func TestDescription(t *testing.T) {
	key, err := envelope.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	trusted := []envelope.PublicKey{key.Public()}
	data, err := testDescription().Seal(key)
	if err != nil {
		t.Fatal(err)
	}
	got, err := OpenDescription(trusted, mac, data)
	if err != nil || got.Name != "r1-n01" || got.Profile[1] != 7 {
		t.Errorf("OpenDescription = %+v, %v", got, err)
	}
	if _, err := OpenDescription(trusted, net.HardwareAddr{2, 0, 0, 0, 0, 1}, data); err == nil {
		t.Error("OpenDescription accepted the description of another machine")
	}
	stranger, _ := envelope.NewKey()
	if _, err := OpenDescription([]envelope.PublicKey{stranger.Public()}, mac, data); !errors.Is(err, envelope.ErrNotTrusted) {
		t.Errorf("OpenDescription with another key: %v; want ErrNotTrusted", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("swarmboot.server=http://10.0.0.1:80 swarmboot.mac=52:54:00:12:34:56 swarmboot.rescue")
	f.Add("swarmboot.server=http://[fe80::1]/ swarmboot.mac=")
	f.Fuzz(func(t *testing.T, cmdline string) {
		a, err := Parse(cmdline)
		if err != nil {
			return
		}
		if again, err := Parse(a.String()); err != nil || again.String() != a.String() {
			t.Errorf("Parse(%q) = %q, which parses as %q, %v", cmdline, a, again, err)
		}
	})
}

func FuzzDescription(f *testing.F) {
	f.Add([]byte(`{"machine":"52:54:00:12:34:56","image":"lab@1","manifest":{},"torrent":"ZGU=","tracker":"http://a/","seeder":"10.0.0.1:6881","root_url":"http://a/b"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := ParseDescription(data)
		if err == nil && d.Image == "" {
			t.Error("a description without an image was accepted")
		}
	})
}
