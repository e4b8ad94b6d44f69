package peerd

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"swarmboot/images"
	"swarmboot/images/metainfo"
	"swarmboot/initramfs/bootargs"
	"swarmboot/initramfs/envelope"
	"swarmboot/peerd/swarm/swarmtest"
)

// testConfig is a config whose description holds together.
func testConfig(t *testing.T) RootConfig {
	data, _ := swarmtest.Image(3*images.MinPieceLength, images.MinPieceLength)
	pieces, torrent, err := metainfo.Hash(bytes.NewReader(data), "root", int64(len(data)), images.MinPieceLength, nil)
	if err != nil {
		t.Fatal(err)
	}
	part := func(data []byte) images.Part {
		p, err := images.DigestPart(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	key, err := envelope.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	manifest, _, err := images.Manifest{
		Format: images.Format, Name: "lab", Version: "1", Arch: "amd64", Filesystem: "squashfs",
		Kernel: part(data), Modules: part(data), Root: part(data), Torrent: part(torrent), Pieces: pieces,
	}.Seal(key)
	if err != nil {
		t.Fatal(err)
	}
	return RootConfig{
		Description: bootargs.Description{
			Machine: "52:54:00:77:00:01", Image: "lab@1", Manifest: manifest, Torrent: torrent,
			Tracker: "http://10.77.0.1/announce", Seeder: "10.77.0.1:6881", RootURL: "http://10.77.0.1/root",
			Profile: []int{2, 0},
		},
		Trusted: []envelope.PublicKey{key.Public()},
		Dir:     t.TempDir(),
		Log:     slog.New(slog.DiscardHandler),
	}
}

// TestUntrustedDescriptionsAreRefused: before anything is mounted, with a reason
// for people.
func TestUntrustedDescriptionsAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*RootConfig)
		want  string
	}{
		"signed by a stranger": {func(c *RootConfig) {
			stranger, _ := envelope.NewKey()
			c.Trusted = []envelope.PublicKey{stranger.Public()}
		}, "not signed by a trusted key"},
		"tampered manifest": {func(c *RootConfig) {
			var e map[string]any
			json.Unmarshal(c.Description.Manifest, &e)
			e["payload"] = "e30="
			c.Description.Manifest, _ = json.Marshal(e)
		}, "not signed by a trusted key"},
		"another torrent": {func(c *RootConfig) { c.Description.Torrent = []byte("d4:infode") }, "torrent"},
		"another image":   {func(c *RootConfig) { c.Description.Image = "lab@2" }, "the manifest is that of lab@1"},
		"no seeder":       {func(c *RootConfig) { c.Description.Seeder = "boot" }, "seeder"},
	} {
		cfg := testConfig(t)
		c.spoil(&cfg)
		err := RunRoot(t.Context(), cfg, func() { t.Errorf("%s: ready", name) })
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "image lab@") {
			t.Errorf("%s: RunRoot = %v; want an error about %q", name, err, c.want)
		}
	}
}

// TestProfileOfAnotherVersion: pieces that the image does not have are left out.
func TestProfileOfAnotherVersion(t *testing.T) {
	cfg := testConfig(t)
	cfg.Description.Profile = []int{2, 77, -1, 0}
	store, _ := newTestStore(t) // 12 pieces
	e := newEngine(cfg, netip.MustParseAddrPort("10.77.0.1:6881"), store, cfg.Log)
	if got := e.hello.Profile; len(got) != 2 || got[0] != 2 || got[1] != 0 {
		t.Errorf("profile = %v; want 2 0", got)
	}
}
