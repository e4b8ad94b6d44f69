package handover

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"swarmboot/initramfs/bootargs"
)

func TestIdentityIsPlaced(t *testing.T) {
	image := t.TempDir()
	if err := os.MkdirAll(filepath.Join(image, "root/.ssh"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(image, "root/.ssh/authorized_keys"), []byte("ssh-ed25519 of-the-image"), 0o644); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(image)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	identity := bootargs.Identity{
		MachineID: strings.Repeat("ab", 16), HostKey: "private\n", HostKeyPublic: "public",
		AuthorizedKeys: []string{"ssh-ed25519 of-the-image", "ssh-ed25519 new"},
		Files:          []bootargs.File{{Path: "/etc/machine-id", Mode: 0o400, Content: []byte("the admin's")}, {Path: "/opt/new/secret", Mode: 0o600, Content: []byte("s")}},
	}
	for range 2 { // a second attempt meets the files of the first
		if err := place(root, identityFiles(root, identity)); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]struct {
		mode os.FileMode
		text string
	}{
		"etc/machine-id":                   {0o400, "the admin's"},
		"etc/ssh/ssh_host_ed25519_key":     {0o600, "private\n"},
		"etc/ssh/ssh_host_ed25519_key.pub": {0o644, "public\n"},
		"root/.ssh/authorized_keys":        {0o600, "ssh-ed25519 of-the-image\n" + given + "\nssh-ed25519 new\n"},
		"opt/new/secret":                   {0o600, "s"},
	} {
		path := filepath.Join(image, name)
		data, err := os.ReadFile(path)
		info, _ := os.Stat(path)
		if err != nil || string(data) != want.text || info.Mode() != want.mode {
			t.Errorf("%s: %v %q, %v; want %v %q", name, info.Mode(), data, err, want.mode, want.text)
		}
	}
}

func TestNetworkFilesFitTheImage(t *testing.T) {
	for path, has := range map[string][]string{
		"/etc/netplan/90-swarmboot.yaml":            {"usr/sbin/netplan", "usr/lib/systemd/systemd-networkd"},
		"/etc/network/interfaces.d/swarmboot":       {"usr/sbin/ifup", "usr/lib/systemd/systemd-networkd"},
		"/etc/systemd/network/05-swarmboot.network": {"usr/lib/systemd/systemd-networkd"},
	} {
		files := networkFiles("52:54:00:77:00:01", func(name string) bool { return slices.Contains(has, name) })
		if len(files) == 0 || files[0].Path != path || !strings.Contains(string(files[0].Content), "52:54:00:77:00:01") {
			t.Errorf("an image with %v gets %+v; want %s", has, files, path)
		}
	}
	if files := networkFiles("52:54:00:77:00:01", func(string) bool { return false }); files != nil {
		t.Errorf("an image without a network service gets %+v", files)
	}
}

// A key that is taken out of the settings opens no machine any more, and one that
// somebody has added on the machine stays.
func TestAuthorizeReplacesWhatItGave(t *testing.T) {
	const own = "ssh-ed25519 of-the-image\n"
	text := authorize(own, []string{"ssh-ed25519 anna", "ssh-ed25519 ben"}) + "ssh-ed25519 by-hand\n"
	for want, keys := range map[string][]string{
		own + "ssh-ed25519 by-hand\n":                                 nil,
		own + "ssh-ed25519 by-hand\n" + given + "\nssh-ed25519 ben\n": {"ssh-ed25519 ben"},
	} {
		if got := authorize(text, keys); got != want {
			t.Errorf("authorize(%q, %q) = %q; want %q", text, keys, got, want)
		}
	}
	if got := authorize("", nil); got != "" {
		t.Errorf("authorize of nothing = %q", got)
	}
}
