package e2e

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"swarmboot/appliance/internal/state"
	"swarmboot/appliance/internal/vm"
	"swarmboot/images"
	"swarmboot/images/catalogue"
	"swarmboot/initramfs/envelope"
	"swarmboot/initramfs/stage"
)

// TestTrust damages an image on the server in two ways and then replaces the
// server by one with a key of its own. Each time the same machine stops with
// stage and reason on its console and at the server, and tries again by itself.
// Then it boots, by a profile that somebody else has signed, and while it does
// pieces are damaged.
func TestTrust(t *testing.T) {
	wanted := machine{Name: "careful", MAC: "52:54:00:77:04:01", Image: "lab@1"}
	rack := newRack(t, wanted)
	ownImages(t, rack.server)
	image := rack.server.image(t, wanted.Image)
	kernel := image.Path(catalogue.Kernel)
	manifest := filepath.Join(string(rack.server.state), "images", "manifests", image.Digest+".json")

	undamaged := damage(t, kernel)
	m := rack.powerOn(vm.MachineConfig{Name: "careful", MAC: wanted.MAC, Firmware: vm.BIOS, Rate: "100mbit"})
	promise(t, "a kernel that is not the manifest's is not booted", func(t *testing.T) {
		expect(t, m, `stage kernel: verify kernel of image lab@1`)
		isListed(t, rack.server, wanted, stage.Kernel, "SHA-256")
	})
	undamaged()
	undamaged = damage(t, manifest)
	promise(t, "an image whose manifest was changed is not booted", func(t *testing.T) {
		expect(t, m, `stage kernel: image lab@1: manifest`)
		isListed(t, rack.server, wanted, stage.Kernel, "manifest")
	})
	undamaged()
	promise(t, "a machine trusts no server but the one that its initramfs came from", func(t *testing.T) {
		expect(t, m, `swarmboot: machine \S+ boots from`)
		if _, err := rack.server.stop(syscall.SIGKILL); err == nil {
			t.Fatal("the server has ended before it was killed")
		}
		impostor := rack.serve(otherState(t, rack, image), []machine{wanted})
		expect(t, m, `reason: .*not signed by a trusted key`)
		isListed(t, impostor, wanted, stage.Swarm, "not signed by a trusted key")
		impostor.stop(syscall.SIGKILL)
	})
	promise(t, "a profile that somebody else has signed is not used", func(t *testing.T) {
		signProfile(t, rack.server.state, image.Digest)
		rack.server = rack.serve(string(rack.server.state), []machine{wanted})
		rack.server.wait(t, wanted.MAC, stage.Swarm)
		isTold(t, rack.server, "machine log "+wanted.Name, "no boot profile", "stage=network", "not signed by a trusted key")
	})
	promise(t, "pieces that were changed are refused", func(t *testing.T) {
		pieces := image.Manifest.Pieces
		undamaged := damagePieces(t, image.Path(catalogue.Root), pieces, pieces.Count()/2)
		isTold(t, rack.server, "machine list", wanted.MAC, "pieces that are not what was signed")
		isTold(t, rack.server, "machine log "+wanted.Name, "machine refuses pieces", "stage=")
		undamaged()
	})
	promise(t, "it boots as soon as nothing is wrong any more", func(t *testing.T) {
		login(t, m)
		isTheImage(t, rack.server, m, wanted)
	})
}

// signProfile gives the server a profile that a key of nobody's has signed.
func signProfile(t *testing.T, folder state.Folder, digest string) {
	t.Helper()
	key, err := envelope.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	data, err := envelope.Sign(key, envelope.ProfileType, []byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(string(folder), "profiles", digest+".json"), string(data))
}

// damagePieces changes one byte in each piece from the one numbered first, in the
// file that the server has open.
func damagePieces(t *testing.T, path string, pieces images.Pieces, first int) (undo func()) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	flip := func() {
		t.Helper()
		one := make([]byte, 1)
		for piece := first; piece < pieces.Count(); piece++ {
			if _, err := f.ReadAt(one, pieces.Offset(piece)); err != nil {
				t.Fatal(err)
			}
			one[0] ^= 1
			if _, err := f.WriteAt(one, pieces.Offset(piece)); err != nil {
				t.Fatal(err)
			}
		}
	}
	flip()
	return flip
}

// ownImages gives the server a copy of the images that can be damaged.
func ownImages(t *testing.T, s *server) {
	t.Helper()
	link := filepath.Join(string(s.state), "images")
	shared, err := os.Readlink(link)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(link); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(link, os.DirFS(shared)); err != nil {
		t.Fatal(err)
	}
}

// damage changes one byte in the middle of a file.
func damage(t *testing.T, path string) (undo func()) {
	t.Helper()
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	replace := func(data []byte) { // as a new file: the server may be reading the old one
		t.Helper()
		if err := os.WriteFile(path+".new", data, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	bad := bytes.Clone(good)
	bad[len(bad)/2] ^= 1
	replace(bad)
	return func() { t.Helper(); replace(good) }
}

// expect waits for words on the console. A machine that tries again and again is
// never silent, so there is a limit to it.
func expect(t *testing.T, m *vm.Machine, words string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*vm.Stall)
	defer cancel()
	if _, _, err := m.Console.Expect(ctx, regexp.MustCompile(words)); err != nil {
		t.Fatal(err)
	}
}

// isListed waits until `machine list` tells where the machine has failed, and why.
func isListed(t *testing.T, s *server, want machine, at stage.Stage, reason string) {
	t.Helper()
	isTold(t, s, "machine list", want.MAC, "failed", "at "+string(at), reason)
}

// isTold waits until a line of what a command prints has all these words.
func isTold(t *testing.T, s *server, command string, words ...string) {
	t.Helper()
	deadline := time.After(vm.Stall)
	for tick := time.Tick(500 * time.Millisecond); ; {
		said, status := swarmboot(t, append(strings.Fields(command), "--state", string(s.state))...)
		if status != 0 {
			t.Fatalf("%s: status %d: %s", command, status, said)
		}
		for line := range strings.Lines(said) {
			if !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(line, word) }) {
				return
			}
		}
		select {
		case <-tick:
		case <-deadline:
			t.Fatalf("no line of %s has all of %q:\n%s", command, words, said)
		}
	}
}

// otherState is the state folder of a server that offers the same image under
// the same name, signed with a key of its own.
func otherState(t *testing.T, r *rack, image *catalogue.Image) string {
	t.Helper()
	folder := filepath.Join(r.dir, "impostor")
	publish(t, state.Folder(folder), image, image.Manifest.Ref().String())
	return folder
}

// publish puts an image into a state folder under a name, signed with the key
// there.
func publish(t *testing.T, folder state.Folder, image *catalogue.Image, name string) {
	t.Helper()
	key, err := folder.Key()
	if err != nil {
		t.Fatal(err)
	}
	c, err := folder.Catalogue()
	if err != nil {
		t.Fatal(err)
	}
	ref, err := images.ParseRef(name)
	if err != nil {
		t.Fatal(err)
	}
	files := map[catalogue.Part]string{}
	for _, part := range catalogue.Parts {
		files[part] = image.Path(part)
	}
	manifest := image.Manifest
	manifest.Name, manifest.Version = ref.Name, ref.Version
	if _, err := c.Add(t.Context(), key, manifest, files); err != nil {
		t.Fatal(err)
	}
}
