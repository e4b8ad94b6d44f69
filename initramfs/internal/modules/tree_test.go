package modules

import (
	"slices"
	"testing"
	"testing/fstest"
)

// depmod's own lines, from Debian's 6.1 kernel.
var debian = fstest.MapFS{
	"modules.dep": {Data: []byte(`kernel/fs/erofs/erofs.ko: kernel/lib/libcrc32c.ko
kernel/lib/libcrc32c.ko:
kernel/arch/x86/crypto/crc32c-intel.ko:
kernel/crypto/crc32c_generic.ko:
kernel/drivers/net/ethernet/intel/e1000/e1000.ko:
kernel/drivers/net/virtio_net.ko: kernel/drivers/net/net_failover.ko kernel/net/core/failover.ko
kernel/drivers/net/net_failover.ko: kernel/net/core/failover.ko
kernel/net/core/failover.ko:
kernel/drivers/net/x.ko:
kernel/drivers/net/y.ko:
`)},
	"modules.builtin": {Data: []byte("kernel/fs/fuse/fuse.ko\nkernel/drivers/virtio/virtio-ring.ko\n")},
	"modules.softdep": {Data: []byte(`# Soft dependencies extracted from modules themselves.
softdep libcrc32c pre: crc32c
softdep x pre: y post: fuse nowhere e1000
softdep y post: x
`)},
	"modules.alias": {Data: []byte(`# Aliases extracted from modules themselves.
alias crc32c crc32c_intel
alias crypto-crc32c crc32c_generic
alias crc32c crc32c_generic
alias pci:v00008086d0000100Esv*sd*bc*sc*i* e1000
alias pci:v00008086d0000100[A-D]sv*sd*bc*sc*i* x
alias virtio:d00000001v* virtio_net
alias of:N*T*Cvendor,nic y
`)},
}

func parseDebian(t *testing.T) *Tree {
	t.Helper()
	tree, err := Parse(debian)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func TestPlan(t *testing.T) {
	tree := parseDebian(t)
	for name, want := range map[string][]string{
		"erofs":        {"crc32c_intel", "crc32c_generic", "libcrc32c", "erofs"}, // a soft dependency of a dependency, by alias
		"virtio_net":   {"failover", "net_failover", "virtio_net"},
		"virtio-net":   {"failover", "net_failover", "virtio_net"},
		"crc32c-intel": {"crc32c_intel"},
		"x":            {"y", "x", "e1000"}, // y asks for x in turn
		"fuse":         nil,                 // built in
		"nowhere":      nil,
	} {
		if got := tree.Plan(name); !slices.Equal(got, want) {
			t.Errorf("Plan(%s) = %q; want %q", name, got, want)
		}
	}
}

func TestForDevice(t *testing.T) {
	tree := parseDebian(t)
	for modalias, want := range map[string][]string{
		"pci:v00008086d0000100Esv00001AF4sd00001100bc02sc00i00": {"e1000"},
		"pci:v00008086d0000100Bsv00001AF4sd00001100bc02sc00i00": {"x"},
		"pci:v00001AF4d00001000sv00001AF4sd00000001bc02sc00i00": nil,
		"virtio:d00000001v00001AF4":                             {"virtio_net"},
		"of:Nnet/aTnetworkCvendor,nic":                          {"y"}, // '*' passes a slash
		"":                                                      nil,
	} {
		if got := tree.ForDevice(modalias); !slices.Equal(got, want) {
			t.Errorf("ForDevice(%s) = %q; want %q", modalias, got, want)
		}
	}
}

func TestKnows(t *testing.T) {
	tree := parseDebian(t)
	for name, want := range map[string]bool{"fuse": true, "virtio_ring": true, "erofs": true, "crc32c": true, "squashfs": false} {
		if got := tree.Knows(name); got != want {
			t.Errorf("Knows(%s) = %v; want %v", name, got, want)
		}
	}
}

func TestParseWantsModulesDep(t *testing.T) {
	if _, err := Parse(fstest.MapFS{"modules.alias": {}}); err == nil {
		t.Error("Parse without modules.dep succeeded; want an error")
	}
	if _, err := Parse(fstest.MapFS{"modules.dep": {}}); err != nil {
		t.Errorf("Parse with modules.dep alone = %v; want nil", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("kernel/a.ko: kernel/b.ko\nkernel/b.ko:", "softdep a pre: b post: c\nsoftdep b pre: a", "alias pci:v* a\nalias c b", "a")
	f.Add(":", "softdep", "alias [ ]", "")
	f.Fuzz(func(t *testing.T, dep, softdep, alias, name string) {
		tree, err := Parse(fstest.MapFS{"modules.dep": {Data: []byte(dep)}, "modules.softdep": {Data: []byte(softdep)}, "modules.alias": {Data: []byte(alias)}})
		if err != nil {
			return
		}
		tree.ForDevice(name)
		plan := tree.Plan(name)
		slices.Sort(plan)
		if n := len(plan); len(slices.Compact(plan)) != n {
			t.Errorf("Plan(%q) names a module twice: %q", name, plan)
		}
	})
}
