package e2e

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"swarmboot/appliance/internal/vm"
)

// TestApplianceDisk starts a server from the appliance disk, answers its
// questions on its console as an admin does, brings it an image, and boots a
// machine from it.
func TestApplianceDisk(t *testing.T) {
	needs(t)
	if os.Getenv("SWARMBOOT_DISK") != "1" {
		t.Skip("takes minutes; run it by make e2e-disk, which sets SWARMBOOT_DISK=1")
	}
	const password = "correct horse"
	disk := filepath.Join(t.TempDir(), "disk")
	shell(t, "", "qemu-img", "convert", "-O", "raw", built(t, "package/swarmboot-appliance.qcow2"), disk)
	shell(t, "", "qemu-img", "resize", "-q", "-f", "raw", disk, "6G")
	rack := emptyRack(t, labState(t))
	rack.offerImage("lab@1")
	server := rack.powerOn(vm.MachineConfig{Name: "appliance", MAC: "52:54:00:77:07:01", Firmware: vm.SecureBoot, Memory: 2048, Disk: disk, FromDisk: true})
	do := func(t *testing.T, command string) string { t.Helper(); return run(t, server.Console, command) }

	promise(t, "it asks for its network on its console", func(t *testing.T) {
		answer(t, server.Console, []exchange{
			{`not set up yet`, ""}, {`Card that .*\[\S+\]: $`, "1"}, {`stay in charge.*: $`, "n"},
			{`own address there.*: $`, "10.77.0.5/24"}, {`Addresses for the machines.*: $`, "10.77.0.100-10.77.0.109"},
			{`Router.*: $`, ""}, {`admin pages.*: $`, "y"}, {`Write this.*: $`, ""},
			{`Password of root.*: $`, password}, {`same again: $`, password}, {`boot server runs`, ""},
		})
	})
	promise(t, "it is a server then, for whoever has the password", func(t *testing.T) {
		answer(t, server.Console, []exchange{{`swarmboot login: $`, "root"}, {`Password: $`, password}})
		if err := server.Console.Shell(t.Context()); err != nil {
			t.Fatal(err)
		}
		do(t, "systemctl is-active swarmboot && swarmboot check /etc/swarmboot/swarmboot.yaml")
		if got := do(t, "swarmboot token list"); !strings.Contains(got, "admin") {
			t.Errorf("tokens: %s", got)
		}
		if got := do(t, "df --output=size -m / | tail -1"); len(strings.TrimSpace(got)) < 4 || strings.TrimSpace(got) < "5000" {
			t.Errorf("the root has %s MiB; want it to have grown with the disk, to almost 6 GiB", got)
		}
		do(t, "test -z \"$(systemctl --failed --quiet)\" || { systemctl --failed; exit 1; }")
	})
	promise(t, "it takes an image that another computer has built", func(t *testing.T) {
		do(t, "cd /tmp && curl -sSfO http://10.77.0.1:8000/builder.pub && curl -sSfO http://10.77.0.1:8000/image.tar && swarmboot key trust builder.pub && swarmboot image import image.tar && systemctl restart swarmboot")
	})
	want := machine{Name: "r1-n01", MAC: "52:54:00:77:07:02"}
	promise(t, "an admin adopts a machine, which boots", func(t *testing.T) {
		do(t, "swarmboot machine adopt "+want.MAC+" --name "+want.Name+" --image lab@1")
		do(t, "for i in $(seq 30); do swarmboot machine list "+want.Name+" && exit 0; sleep 1; done; exit 1")
		do(t, "sed -i 's/^machines:/defaults: {kernel_args: console=ttyS0 loglevel=4}\\n&/' /etc/swarmboot/swarmboot.yaml && swarmboot check /etc/swarmboot/swarmboot.yaml && systemctl reload swarmboot")
		m := rack.powerOn(vm.MachineConfig{Name: "n01", MAC: want.MAC, Firmware: vm.BIOS})
		login(t, m)
		if got := run(t, m.Console, "hostname"); got != want.Name {
			t.Errorf("it is %q; want %q", got, want.Name)
		}
		do(t, "for i in $(seq 60); do swarmboot machine list "+want.Name+" | grep -qE 'ready|complete|handed-over|seeding' && exit 0; sleep 1; done; swarmboot machine list; exit 1")
	})
	promise(t, "it starts by BIOS too, and asks nothing once it is set up", func(t *testing.T) {
		if err := server.Console.Send("poweroff\n"); err != nil {
			t.Fatal(err)
		}
		if err := server.WaitOff(t.Context()); err != nil {
			t.Fatal(err)
		}
		again := rack.powerOn(vm.MachineConfig{Name: "again", MAC: "52:54:00:77:07:03", Firmware: vm.BIOS, Memory: 2048, Disk: disk, FromDisk: true})
		which, said, err := again.Console.Expect(t.Context(), regexp.MustCompile(`swarmboot login: $`), regexp.MustCompile(`not set up yet`))
		if err != nil || which != 0 {
			t.Fatalf("it says %q, %v", said, err)
		}
	})
}

// An exchange is what a console asks, and the answer.
type exchange struct{ asked, answer string }

// answer gives the answers; those that are asked to press nothing are only awaited.
func answer(t *testing.T, c *vm.Console, talk []exchange) {
	t.Helper()
	for _, e := range talk {
		if _, _, err := c.Expect(t.Context(), regexp.MustCompile(e.asked)); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(e.asked, "$") {
			if err := c.Send(e.answer + "\n"); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// offerImage has a plain web server give an image and the key that it is signed
// with to whoever is on the LAN: image.tar and builder.pub on port 8000.
func (r *rack) offerImage(name string) {
	r.t.Helper()
	folder := filepath.Join(r.dir, "state")
	files := r.t.TempDir()
	shell(r.t, "", swarmbootProgram(r.t), "image", "export", name, filepath.Join(files, "image.tar"), "--state", folder)
	key, err := os.ReadFile(filepath.Join(folder, "keys", "swarmboot.pub"))
	if err != nil {
		r.t.Fatal(err)
	}
	write(r.t, filepath.Join(files, "builder.pub"), string(key))
	ready := func(ctx context.Context) error {
		return r.lan.Command(ctx, "curl", "-sf", "-o", "/dev/null", "http://10.77.0.1:8000/builder.pub").Run()
	}
	if _, err := exec.LookPath("busybox"); err != nil {
		r.t.Fatal(errors.New("busybox is missing (package busybox)"))
	}
	if _, err := r.lan.Serve(r.t.Context(), ready, filepath.Join(r.dir, "httpd.log"), "busybox", "httpd", "-f", "-p", "8000", "-h", files); err != nil {
		r.t.Fatal(err)
	}
}
