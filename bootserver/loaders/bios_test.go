package loaders

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/ulikunitz/xz/lzma"

	"swarmboot/initramfs/bootargs"
)

// grubParts are what biosGRUB is made of, each as small as can be.
func grubParts(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	const head, program = 52, 32
	var kernel bytes.Buffer
	for _, part := range []any{
		elf.Header32{
			Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS32), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
			Type:  uint16(elf.ET_EXEC), Machine: uint16(elf.EM_386), Version: uint32(elf.EV_CURRENT),
			Phoff: head, Ehsize: head, Phentsize: program, Phnum: 1,
		},
		elf.Prog32{Type: uint32(elf.PT_LOAD), Off: head + program, Filesz: 8, Memsz: 100},
		[]byte("a kernel"), []byte("sections"),
	} {
		if err := binary.Write(&kernel, binary.LittleEndian, part); err != nil {
			t.Fatal(err)
		}
	}
	write(t, dir, "kernel.img", kernel.String())
	write(t, dir, "boot.img", strings.Repeat("b", sector))
	write(t, dir, "diskboot.img", strings.Repeat("d", sector))
	write(t, dir, "lzma_decompress.img", strings.Repeat("u", 700))
	write(t, dir, "moddep.lst", "normal: boot terminal\nboot:\nterminal: needed\nunused: boot\nneeded: boot\n")
	for _, name := range append(slices.Clone(biosModules), "terminal", "needed", "unused") {
		write(t, dir, name+".mod", "<"+name+">")
	}
	return dir
}

func TestBIOSGRUB(t *testing.T) {
	image, err := biosGRUB(grubParts(t))
	if err != nil {
		t.Fatal(err)
	}
	little := binary.LittleEndian
	unpack := image[2*sector:]
	packed, size := little.Uint32(unpack[8:]), little.Uint32(unpack[12:])
	if at := little.Uint64(image[0x5c:]); at != bootargs.BIOSSector {
		t.Errorf("the first sector goes on with sector %d", at)
	}
	at, count := little.Uint64(image[sector+500:]), little.Uint16(image[sector+508:])
	if want := len(image)/sector - 2; at != bootargs.BIOSSector+1 || int(count) != want || len(image)%sector != 0 {
		t.Errorf("the second loads %d sectors from %d on; want %d", count, at, want)
	}
	// As lzma_decompress.img does, but for the header.
	header := little.AppendUint64(little.AppendUint32([]byte{5*9*2 + 3}, 1<<20), uint64(size))
	r, err := lzma.NewReader(bytes.NewReader(append(header, unpack[700:][:packed]...)))
	if err != nil {
		t.Fatal(err)
	}
	core, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	objects, ok := bytes.CutPrefix(core, []byte("a kernelmimg"))
	if !ok || int(little.Uint32(objects[4:])) != len(core)-len("a kernel") {
		t.Fatalf("GRUB begins with %.40q, and modules of %d bytes", core, little.Uint32(objects[4:]))
	}
	var got []string
	for objects = objects[8:]; len(objects) > 0; objects = objects[little.Uint32(objects[4:]):] {
		got = append(got, string(bytes.TrimRight(objects[8:little.Uint32(objects[4:])], "\x00")))
	}
	want := []string{"<biosdisk>", "<part_gpt>", "<fat>", "<boot>", "<needed>", "<terminal>", "<normal>", "<echo>", "<search>", "<linux>", biosPrefix}
	if !slices.Equal(got, want) {
		t.Errorf("GRUB has %q; want %q", got, want)
	}
}

func TestBIOSGRUBWithoutAModule(t *testing.T) {
	dir := grubParts(t)
	write(t, dir, "moddep.lst", "normal: gone\n")
	if _, err := biosGRUB(dir); err == nil || !strings.Contains(err.Error(), "gone.mod") {
		t.Errorf("biosGRUB = %v; want an error that names gone.mod", err)
	}
}
