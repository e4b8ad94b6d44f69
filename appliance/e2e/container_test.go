package e2e

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"swarmboot/appliance/internal/control"
	"swarmboot/appliance/internal/state"
	"swarmboot/appliance/internal/vm"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
)

// TestContainer runs what the container image holds, as its configuration says,
// with the root, the folders and the capabilities that a container engine would
// give it, and boots a machine from it.
func TestContainer(t *testing.T) {
	archive := packaged(t, "*.oci.tar")
	folder := newStateWithLab(t)
	want := machine{Name: "contained", MAC: "52:54:00:77:06:11", Image: "lab@1"}
	root, image := filepath.Join(filepath.Dir(folder), "root"), filepath.Join(filepath.Dir(folder), "oci")
	var config v1.Config
	promise(t, "the image can be unpacked", func(t *testing.T) {
		shell(t, "", "mkdir", root, image)
		shell(t, "", "tar", "--extract", "--file", archive, "--directory", image)
		config = unpackContainer(t, image, root)
	})
	r := emptyRack(t, folder)
	text := strings.Join([]string{
		"unknown: deny", "server: {loaders: /var/lib/swarmboot/loaders}", "networks:", "  lab:",
		"    interface: " + vm.Bridge, "    address: " + network.String(), "    pool: 10.77.0.100-10.77.0.109",
		"machines:", "  - {mac: \"" + want.MAC + "\", name: " + want.Name + ", image: lab@1, kernel_args: console=ttyS0 loglevel=4}", "",
	}, "\n")
	write(t, filepath.Join(root, "etc/swarmboot/swarmboot.yaml"), text)
	// What an engine does: mounts of its own, volumes, fewer capabilities, the root.
	// chroot needs the third capability; an engine has a way without.
	volume, loaders := root+"/var/lib/swarmboot", root+"/var/lib/swarmboot/loaders"
	script := strings.Join([]string{
		"mount --make-rprivate /",
		"mount --bind " + folder + " " + volume,
		"mkdir " + root + "/proc " + loaders,
		"mount -t proc proc " + root + "/proc",
		"mount --bind " + filepath.Join(cache(t), "loaders") + " " + loaders,
		"cd " + root,
		"exec env -i " + strings.Join(config.Env, " ") + " /usr/bin/setpriv --bounding-set -all,+net_bind_service,+net_raw,+sys_chroot /usr/sbin/chroot . " +
			strings.Join(append(config.Entrypoint, config.Cmd...), " "),
	}, " && ")
	promise(t, "it serves with two capabilities", func(t *testing.T) {
		client := control.NewClient(state.Folder(folder).Socket())
		answers := func(ctx context.Context) error { _, err := client.Machines(ctx); return err }
		service, err := r.lan.Serve(t.Context(), answers, folder+".log", "unshare", "--mount", "sh", "-c", script)
		if err != nil {
			t.Fatal(err)
		}
		r.server = &server{t: t, state: state.Folder(folder), client: client, log: folder + ".log", Service: service}
	})
	promise(t, "a machine boots from it", func(t *testing.T) {
		m := r.powerOn(vm.MachineConfig{Name: want.Name, MAC: want.MAC, Firmware: vm.BIOS})
		login(t, m)
		if got := run(t, m.Console, "hostname"); got != want.Name {
			t.Errorf("it is %q; want %q", got, want.Name)
		}
	})
}

// unpackContainer puts what the one image of a layout holds into root.
func unpackContainer(t *testing.T, dir, root string) v1.Config {
	t.Helper()
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil || len(manifest.Manifests) != 1 {
		t.Fatalf("%v, %v; want one image", manifest, err)
	}
	image, err := index.Image(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	file, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	flat, err := os.Create(dir + ".tar")
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(flat, mutate.Extract(image))
	if err = errors.Join(err, flat.Close()); err != nil {
		t.Fatal(err)
	}
	shell(t, "", "tar", "--extract", "--file", dir+".tar", "--directory", root)
	return file.Config
}
