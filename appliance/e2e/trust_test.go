package e2e

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"swarmboot/appliance/e2e/vm"
	"swarmboot/appliance/internal/state"
	"swarmboot/images"
	"swarmboot/images/catalogue"
	"swarmboot/initramfs/stage"
)

// TestTrust damages an image on the server in two ways and then replaces the
// server by one with a key of its own. Each time the same machine stops with
// stage and reason on its console and at the server, and tries again by itself,
// so that in the end it boots.
func TestTrust(t *testing.T) {
	wanted := machine{Name: "careful", MAC: "52:54:00:77:04:01", Image: "lab@1"}
	rack := newRack(t, wanted)
	ownImages(t, rack.server)
	image := rack.server.image(t, wanted.Image)
	kernel := image.Path(catalogue.Kernel)
	manifest := filepath.Join(string(rack.server.state), "images", "manifests", image.Digest+".json")

	undamaged := damage(t, kernel)
	m := rack.powerOn(vm.MachineConfig{Name: "careful", MAC: wanted.MAC, Firmware: vm.BIOS})
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
	promise(t, "it boots as soon as nothing is wrong any more", func(t *testing.T) {
		rack.server = rack.serve(string(rack.server.state), []machine{wanted})
		rack.server.wait(t, wanted.MAC, stage.SwitchRoot)
	})
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
	deadline := time.After(vm.Stall)
	for tick := time.Tick(500 * time.Millisecond); ; {
		said, status := swarmboot(t, "machine", "list", "--state", string(s.state))
		if status != 0 {
			t.Fatalf("machine list: status %d: %s", status, said)
		}
		for line := range strings.Lines(said) {
			if strings.Contains(line, want.MAC) && strings.Contains(line, "failed") && strings.Contains(line, "at "+string(at)) && strings.Contains(line, reason) {
				return
			}
		}
		select {
		case <-tick:
		case <-deadline:
			t.Fatalf("machine list does not tell that %s failed at %s because of %q:\n%s", want.MAC, at, reason, said)
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
