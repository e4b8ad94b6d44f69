package probe

import (
	"reflect"
	"runtime"
	"testing"
	"testing/fstest"

	"swarmboot/initramfs/inventory"
)

func TestMachine(t *testing.T) {
	root := fstest.MapFS{}
	for name, text := range map[string]string{
		"sys/class/dmi/id/sys_vendor":          "QEMU\n",
		"sys/class/dmi/id/product_name":        "Standard PC (Q35)\n",
		"sys/class/dmi/id/product_serial":      "S-17\n",
		"proc/cpuinfo":                         "processor\t: 0\nmodel name\t: A  CPU\n\nprocessor\t: 1\nmodel name\t: A  CPU\n",
		"proc/meminfo":                         "MemTotal:        1024 kB\nMemFree: 3 kB\n",
		"sys/class/net/lo/address":             "00:00:00:00:00:00\n",
		"sys/class/net/eth0/address":           "52:54:00:77:00:01\n",
		"sys/class/net/eth0/carrier":           "1\n",
		"sys/class/net/eth0/device/vendor":     "x",
		"sys/class/block/sda/size":             "2048\n",
		"sys/class/block/sda/device/model":     "Disk    \n",
		"sys/class/block/sda/queue/rotational": "1\n",
		"sys/class/block/sda1/size":            "1024\n",
		"sys/class/block/sr0/device/model":     "CD",
		"sys/class/block/sr0/removable":        "1\n",
	} {
		root[name] = &fstest.MapFile{Data: []byte(text)}
	}
	want := inventory.Inventory{
		Vendor: "QEMU", Product: "Standard PC (Q35)", Serial: "S-17", Arch: runtime.GOARCH, CPU: "A CPU", CPUs: 2, Memory: 1 << 20,
		Cards: []inventory.Card{{Name: "eth0", MAC: "52:54:00:77:00:01", Link: true}},
		Disks: []inventory.Disk{{Name: "sda", Bytes: 1 << 20, Model: "Disk", Spins: true}},
	}
	if got := Machine(root); !reflect.DeepEqual(got, want) {
		t.Errorf("Machine =\n%+v; want\n%+v", got, want)
	}
	if got := Machine(fstest.MapFS{}); !reflect.DeepEqual(got, inventory.Inventory{Arch: runtime.GOARCH}) {
		t.Errorf("Machine of nothing = %+v", got)
	}
}

// tlv is one field of an LLDP frame.
func tlv(kind byte, value string) string { return string([]byte{kind << 1, byte(len(value))}) + value }

var frames = map[string]Port{
	tlv(1, "\x04\x52\x54\x00\x00\x00\x01") + tlv(2, "\x05Gi1/0/7") + tlv(3, "\x00\x78") + tlv(4, "to rack 1") + tlv(5, "sw1") + tlv(0, ""): {"sw1", "Gi1/0/7 (to rack 1)"},
	tlv(1, "\x04\x52\x54\x00\x00\x00\x01") + tlv(2, "\x03\x52\x54\x00\x00\x00\x02") + tlv(3, "\x00\x78"):                                   {"52:54:00:00:00:01", "52:54:00:00:00:02"},
	tlv(1, "\x05\x01\x0a\x4d\x00\xfe") + tlv(2, "\x077") + tlv(0, "") + "padding":                                                          {"10.77.0.254", "7"},
}

func TestParseLLDP(t *testing.T) {
	for frame, want := range frames {
		if got, err := parseLLDP([]byte(frame)); err != nil || got != want {
			t.Errorf("parseLLDP(%q) = %+v, %v; want %+v", frame, got, err, want)
		}
	}
	for _, bad := range []string{"", "\x02", tlv(1, "\x04a"), tlv(1, "\x07a") + "\x05\xffab", tlv(0, "")} {
		if got, err := parseLLDP([]byte(bad)); err == nil {
			t.Errorf("parseLLDP(%q) = %+v; want it refused", bad, got)
		}
	}
}

func FuzzParseLLDP(f *testing.F) {
	for frame := range frames {
		f.Add([]byte(frame))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		if p, err := parseLLDP(frame); err == nil && (p.Switch != inventory.Plain(p.Switch) || p.Port == "") {
			t.Errorf("parseLLDP(%q) = %+v", frame, p)
		}
	})
}
