package bootserver

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"swarmboot/bootserver/fleet"
	"swarmboot/initramfs/bootargs"
	"swarmboot/initramfs/envelope"
	"swarmboot/initramfs/stage"
)

// A machine is told to install, and once it has, to start from its disk: until
// something is another than what it has there, or the disk does not start.
func TestInstallTakesItsCourse(t *testing.T) {
	l := newLab(t)
	c := l.Config
	c.Machines = slices.Clone(c.Machines)
	c.Machines[0].Install = "nvme0n1"
	l.Config = c
	s := l.new(t)
	t.Cleanup(func() { s.leases.Close() })
	s.offers[l.image.Digest] = &offer{Image: l.image, torrent: []byte("t")} // as if it were seeded
	hw, _ := net.ParseMAC(m2)
	described := func() bootargs.Install {
		t.Helper()
		sealed, err := s.describe(hw)
		if err != nil {
			t.Fatal(err)
		}
		d, err := bootargs.OpenDescription([]envelope.PublicKey{l.key.Public()}, hw, sealed)
		if err != nil {
			t.Fatal(err)
		}
		return d.Install
	}
	local := func() bool {
		t.Helper()
		plan, err := s.plan(hw)
		if err != nil {
			t.Fatal(err)
		}
		return plan.Local
	}

	told := described()
	var paths []string
	for _, f := range told.Files {
		paths = append(paths, f.Path)
		if f.Path == "/grub/grub.cfg" && (!strings.Contains(f.Content, "'swarmboot.local'") || strings.Contains(f.Content, "swarmboot.token")) {
			t.Errorf("the script on the disk is\n%s", f.Content)
		}
	}
	slices.Sort(paths)
	if got := strings.Join(paths, " "); told.Disk != "nvme0n1" || got != "/EFI/BOOT/BOOTX64.EFI /EFI/BOOT/grubx64.efi /EFI/BOOT/mmx64.efi /grub/grub.cfg /swarmboot/initramfs /swarmboot/kernel /swarmboot/modules" {
		t.Errorf("it is to install %s on %q", got, told.Disk)
	}
	if !strings.HasSuffix(told.BIOS.URL, "/loaders/grub-bios.img") || told.BIOS.SHA256 == "" {
		t.Errorf("for BIOS it is to install %+v", told.BIOS)
	}
	bios := filepath.Join(c.Loaders, "grub-bios.img")
	if err := os.Rename(bios, bios+".gone"); err != nil {
		t.Fatal(err)
	}
	if got := described().BIOS; got.URL != "" { // as UEFI alone has it
		t.Errorf("for BIOS it is to install %+v, which is not there", got)
	}
	if err := s.haveLoaders(c.Loaders); err != nil {
		t.Errorf("a server without what BIOS machines with a disk need does not start: %v", err)
	}
	if err := os.Rename(bios+".gone", bios); err != nil {
		t.Fatal(err)
	}
	if told.Writes.Partition != bootargs.WritesPartition || !strings.HasPrefix(told.Writes.Folder, "lab@1-") {
		t.Errorf("its writes are to go to %+v", told.Writes)
	}
	if local() {
		t.Error("it is to start from a disk on which nothing is")
	}
	s.report(stage.Report{Machine: m2, Stage: stage.Seeding, Install: &stage.Install{Problem: "no disk"}})
	if local() {
		t.Error("it is to start from a disk that could not be written")
	}
	s.report(stage.Report{Machine: m2, Stage: stage.Seeding, Install: &stage.Install{Digest: told.Digest}})
	if !local() {
		t.Error("it is not to start from its disk, where all is")
	}
	s.report(stage.Report{Machine: m2, Stage: stage.Failed, At: stage.Kernel, Reason: "the disk"})
	if local() {
		t.Error("it is to start again from a disk that does not start")
	}
	s.report(stage.Report{Machine: m2, Stage: stage.Seeding, Install: &stage.Install{Digest: told.Digest}})
	for boot, want := range []bool{true, false} { // the first gets as far as init
		s.fleet.Discovered(fleet.Machine{MAC: m2, Name: "m2", Image: "lab@1"}, false, time.Now())
		s.report(stage.Report{Machine: m2, Stage: stage.Script})
		if boot == 0 {
			s.report(stage.Report{Machine: m2, Stage: stage.Init})
		}
		s.fleet.Discovered(fleet.Machine{MAC: m2, Name: "m2", Image: "lab@1"}, false, time.Now())
		if got := local(); got != want {
			t.Errorf("after boot %d from its disk it is to start from there again: %t", boot, got)
		}
	}
	s.report(stage.Report{Machine: m2, Stage: stage.Seeding, Install: &stage.Install{Digest: told.Digest}})
	c = s.InForce()
	c.Machines = slices.Clone(c.Machines)
	c.Machines[0].AuthorizedKeys = []string{"ssh-ed25519 new"}
	s.site.Store(newSite(c))
	if local() || described().Digest == told.Digest {
		t.Error("it is to start from a disk that has other keys than the settings")
	}
}
