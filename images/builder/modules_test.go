package builder

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/klauspost/compress/zstd"
	"github.com/u-root/mkuimage/cpio"
	"github.com/ulikunitz/xz"
)

var discard = slog.New(slog.DiscardHandler)

// debianLike is a small extract of what Debian's kernels come with.
var debianLike = map[string]string{
	"modules.dep": `kernel/drivers/net/virtio_net.ko.xz: kernel/drivers/net/net_failover.ko.xz kernel/net/core/failover.ko.xz
kernel/drivers/net/net_failover.ko.xz: kernel/net/core/failover.ko.xz
kernel/net/core/failover.ko.xz:
kernel/drivers/net/ethernet/realtek/r8169.ko.xz:
kernel/drivers/net/phy/realtek.ko.xz:
kernel/fs/squashfs/squashfs.ko.xz:
kernel/lib/libcrc32c.ko.xz:
kernel/crypto/crc32c_generic.ko.xz:
kernel/arch/x86/crypto/crc32c-intel.ko.xz:
kernel/sound/core/snd.ko.xz:
`,
	"modules.softdep": `# Soft dependencies extracted from modules themselves.
softdep r8169 pre: realtek
softdep libcrc32c pre: crc32c
`,
	"modules.alias": `# Aliases extracted from modules themselves.
alias crc32c crc32c_generic
alias crc32c crc32c_intel
alias pci:v000010ECd00008168sv*sd*bc*sc*i* r8169
`,
	"modules.builtin": "kernel/fs/fuse/fuse.ko\n",
}

func TestChoose(t *testing.T) {
	dir := fstest.MapFS{}
	for name, data := range debianLike {
		dir[name] = &fstest.MapFile{Data: []byte(data)}
	}
	x, err := readIndex(dir)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ must, may, want []string }{
		"its dependencies":        {[]string{"virtio_net"}, nil, []string{"failover", "net_failover", "virtio_net"}},
		"soft dependencies":       {nil, []string{"r8169"}, []string{"r8169", "realtek"}},
		"aliases":                 {nil, []string{"libcrc32c"}, []string{"crc32c_generic", "crc32c_intel", "libcrc32c"}},
		"nothing for a built-in":  {[]string{"fuse", "squashfs"}, nil, []string{"squashfs"}},
		"nothing for an unknown":  {nil, []string{"nosuch", "squashfs"}, []string{"squashfs"}},
		"each once":               {[]string{"squashfs"}, []string{"squashfs"}, []string{"squashfs"}},
		"a dash is an underscore": {[]string{"crc32c_intel"}, nil, []string{"crc32c_intel"}},
	} {
		paths, err := x.choose(c.must, c.may)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var got []string
		for _, p := range paths {
			got = append(got, moduleName(p))
		}
		slices.Sort(got)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: choose(%v, %v) = %v; want %v", name, c.must, c.may, got, c.want)
		}
	}
	if _, err := x.choose([]string{"overlay"}, nil); err == nil || !strings.Contains(err.Error(), "overlay") {
		t.Errorf("choose without overlay = %v; want an error that names it", err)
	}
}

// module makes the least that depmod takes for a module: an ELF object with a
// section that says which hardware it is for.
func module(alias string) []byte {
	info := []byte("alias=" + alias + "\x00depends=\x00")
	names := []byte("\x00.modinfo\x00.shstrtab\x00")
	head := elf.Header64{
		Ident: [16]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_REL), Machine: uint16(elf.EM_X86_64), Version: 1,
		Ehsize: 64, Shentsize: 64, Shnum: 3, Shstrndx: 2,
	}
	head.Shoff = uint64(64 + len(info) + len(names))
	sections := [3]elf.Section64{
		{},
		{Name: 1, Type: uint32(elf.SHT_PROGBITS), Off: 64, Size: uint64(len(info)), Addralign: 1},
		{Name: 10, Type: uint32(elf.SHT_STRTAB), Off: uint64(64 + len(info)), Size: uint64(len(names)), Addralign: 1},
	}
	var b bytes.Buffer
	for _, part := range []any{head, info, names, sections} {
		binary.Write(&b, binary.LittleEndian, part)
	}
	b.WriteString("~Module signature appended~\n")
	return b.Bytes()
}

func TestArchiveModules(t *testing.T) {
	if _, err := exec.LookPath("depmod"); err != nil {
		t.Skip("depmod is missing: apt install kmod")
	}
	root := t.TempDir()
	dir := filepath.Join(root, "lib/modules/6.12")
	for name, data := range debianLike {
		write(t, filepath.Join(dir, name), data)
	}
	builtin := "kernel/fs/fuse/fuse.ko\nkernel/net/packet/af_packet.ko\nkernel/drivers/block/loop.ko\nkernel/fs/overlayfs/overlay.ko\n"
	write(t, filepath.Join(dir, "modules.builtin"), builtin)
	write(t, filepath.Join(dir, "modules.builtin.modinfo"), "")
	write(t, filepath.Join(dir, "modules.order"), "")
	original := make(map[string][]byte)
	for line := range strings.Lines(debianLike["modules.dep"]) {
		name, _, _ := strings.Cut(line, ":")
		original[moduleName(name)] = module("test:" + moduleName(name))
		var b bytes.Buffer
		z, err := xz.NewWriter(&b)
		if err != nil {
			t.Fatal(err)
		}
		z.Write(original[moduleName(name)])
		z.Close()
		write(t, filepath.Join(dir, name), b.String())
	}

	var archives [2][]byte
	for n := range archives {
		out := filepath.Join(t.TempDir(), "modules.cpio.zst")
		if err := archiveModules(t.Context(), discard, dir, out); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		archives[n] = data
	}
	if !bytes.Equal(archives[0], archives[1]) {
		t.Error("the same modules gave two different archives")
	}
	files := unpack(t, archives[0])
	for name, want := range map[string]string{
		"kernel/drivers/net/virtio_net.ko":             string(original["virtio_net"]),
		"kernel/net/core/failover.ko":                  string(original["failover"]),
		"kernel/arch/x86/crypto/crc32c-intel.ko":       string(original["crc32c_intel"]),
		"kernel/drivers/net/ethernet/realtek/r8169.ko": string(original["r8169"]),
		"modules.builtin":                              builtin,
	} {
		if got, ok := files["lib/modules/6.12/"+name]; !ok || got != want {
			t.Errorf("%s: %d bytes; want the %d that were compressed in the root", name, len(got), len(want))
		}
	}
	if _, ok := files["lib/modules/6.12/kernel/sound/core/snd.ko"]; ok {
		t.Error("the archive holds snd.ko, which nobody asked for")
	}
	alias := files["lib/modules/6.12/modules.alias"]
	if !strings.Contains(alias, "alias test:virtio_net virtio_net") || strings.Contains(alias, "snd") {
		t.Errorf("modules.alias = %q; want depmod's for the modules in the archive", alias)
	}
}

func unpack(t *testing.T, archive []byte) map[string]string {
	t.Helper()
	z, err := zstd.NewReader(bytes.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	data, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string]string)
	err = cpio.ForEachRecord(cpio.Newc.Reader(bytes.NewReader(data)), func(r cpio.Record) error {
		b, err := io.ReadAll(io.NewSectionReader(r, 0, int64(r.FileSize)))
		files[r.Name] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
