package e2e

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"swarmboot/appliance/internal/vm"
)

// TestLab types the commands of the lab where there is the package, and no source:
// programs, initramfs and state folder are where it has put them.
func TestLab(t *testing.T) {
	deb := packaged(t, "*.deb")
	if vm.Exists("swarmboot-lab") {
		t.Fatal("the lab is up; stop it first: make lab-down")
	}
	script := changesUnseen("etc", "usr", "var/lib") + fmt.Sprintf(`
export XDG_CACHE_HOME=%q
lab=$XDG_CACHE_HOME/swarmboot/lab
hostname_of() {
	ip netns exec swarmboot-lab ssh -i $lab/ssh_key -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null root@10.77.0.$1 hostname
}
dpkg-deb --extract %q /
echo; swarmboot lab up || true
cp -r %q /var/lib/swarmboot
echo; swarmboot lab up || true
cp -r %q /usr/lib/swarmboot/loaders
trap 'swarmboot lab down' EXIT
echo; swarmboot lab up --machines 1
hostname_of 11
echo; swarmboot lab add --link 100mbit
hostname_of 12
echo; swarmboot lab up || true
`, t.TempDir(), deb, newStateWithLab(t), filepath.Join(cache(t), "loaders"))
	out, err := exec.CommandContext(t.Context(), "unshare", "--mount", "sh", "-ec", script).CombinedOutput()
	said := string(out)
	for _, step := range []struct{ what, want string }{
		{"without an image it names the command that makes one", "swarmboot image build lab@1"},
		{"without loaders it names the command that brings them", "swarmboot loaders fetch"},
		{"the one image is booted", "machines that boot lab@1: 1,"},
		{"a machine lets root in by the lab's key, under its own name", "\nlab-01\n"},
		{"one more machine boots", "\nlab-02\n"},
		{"a second lab is refused", "it is up already; stop it first: /usr/bin/swarmboot lab down"},
		{"all of it ends", "the lab is down\n"},
	} {
		promise(t, step.what, func(t *testing.T) {
			_, after, found := strings.Cut(said, step.want)
			if !found {
				t.Fatalf("%v; the rest of what was said has no %q:\n%s", err, step.want, said)
			}
			said = after
		})
	}
	if err != nil || vm.Exists("swarmboot-lab") {
		t.Errorf("%v, or its network namespace is still there; want neither", err)
	}
}

// changesUnseen begins a shell script: what it changes in those folders is in
// memory, and nobody sees it but the script and what it starts.
func changesUnseen(folders ...string) string {
	return fmt.Sprintf(`mount -t tmpfs tmpfs /mnt
for at in %s; do
	mkdir -p /mnt/$at/upper /mnt/$at/work
	mount -t overlay overlay -o lowerdir=/$at,upperdir=/mnt/$at/upper,workdir=/mnt/$at/work /$at
done
`, strings.Join(folders, " "))
}
