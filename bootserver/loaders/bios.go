package loaders

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ulikunitz/xz/lzma"

	"swarmboot/initramfs/bootargs"
)

// biosModules are what GRUB on a BIOS machine's disk needs to run the script there,
// besides what these need themselves.
var biosModules = []string{"biosdisk", "part_gpt", "fat", "normal", "echo", "search", "linux", "boot"}

// biosPrefix is where GRUB finds the script: on the disk that BIOS has started, in
// the boot partition.
const biosPrefix = "(,gpt1)/grub"

const sector = 512 // bytes

// biosGRUB makes the loader of disks for BIOS from dir, the folder of GRUB's parts
// in Debian's package. Its first sector goes into the disk's, the rest into the
// BIOS boot partition. grub-mkimage and grub-bios-setup make the same; but the
// server may have another release of them, or be no PC.
//
// From the begin: boot.img loads diskboot.img, that loads all the rest, in which
// lzma_decompress.img unpacks GRUB's kernel and modules.
func biosGRUB(dir string) ([]byte, error) {
	parts := map[string][]byte{}
	for _, name := range []string{"boot.img", "diskboot.img", "lzma_decompress.img", "kernel.img"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		parts[name] = data
	}
	boot, diskboot, unpack := parts["boot.img"], parts["diskboot.img"], parts["lzma_decompress.img"]
	if len(boot) != sector || len(diskboot) != sector || len(unpack) < 16 {
		return nil, errors.New("boot.img, diskboot.img or lzma_decompress.img has an odd size")
	}
	core, err := biosCore(dir, parts["kernel.img"])
	if err != nil {
		return nil, err
	}
	packed, err := lzmaPack(core)
	if err != nil {
		return nil, err
	}
	little := binary.LittleEndian
	little.PutUint64(boot[0x5c:], bootargs.BIOSSector) // where diskboot.img lies
	copy(boot[0x66:], "\x90\x90")                      // a disk is started, whatever number BIOS tells
	rest := sectors(len(unpack) + len(packed))
	little.PutUint64(diskboot[500:], bootargs.BIOSSector+1) // where the rest lies
	little.PutUint16(diskboot[508:], uint16(rest))          // sectors
	little.PutUint32(unpack[8:], uint32(len(packed)))
	little.PutUint32(unpack[12:], uint32(len(core)))
	image := slices.Concat(boot, diskboot, unpack, packed)
	return append(image, make([]byte, (2+rest)*sector-len(image))...), nil
}

func sectors(n int) int { return (n + sector - 1) / sector }

// Kinds of what follows GRUB's kernel, in grub/kernel.h.
const (
	objectModule = 0
	objectPrefix = 3
)

// biosCore is GRUB's kernel as it lies in memory, and behind it the modules.
func biosCore(dir string, kernel []byte) ([]byte, error) {
	program, err := elf.NewFile(bytes.NewReader(kernel))
	if err != nil || len(program.Progs) == 0 {
		return nil, fmt.Errorf("kernel.img is no program: %w", err)
	}
	core, err := io.ReadAll(program.Progs[0].Open())
	if err != nil {
		return nil, fmt.Errorf("kernel.img: %w", err)
	}
	var objects []byte
	add := func(kind uint32, data []byte) {
		data = append(data, make([]byte, -len(data)&3)...)
		objects = binary.LittleEndian.AppendUint32(objects, kind)
		objects = binary.LittleEndian.AppendUint32(objects, uint32(8+len(data)))
		objects = append(objects, data...)
	}
	modules, err := withNeeds(filepath.Join(dir, "moddep.lst"), biosModules)
	if err != nil {
		return nil, err
	}
	for _, name := range modules {
		module, err := os.ReadFile(filepath.Join(dir, name+".mod"))
		if err != nil {
			return nil, err
		}
		add(objectModule, module)
	}
	add(objectPrefix, []byte(biosPrefix+"\x00"))
	const head = 12 // magic, where the objects begin, where they end
	core = append(core, "mimg"...)
	core = binary.LittleEndian.AppendUint32(core, head)
	core = binary.LittleEndian.AppendUint32(core, uint32(head+len(objects)))
	return append(core, objects...), nil
}

// withNeeds are modules and all that they need, each behind its needs. In the file
// stands in each line "module: needs".
func withNeeds(file string, modules []string) (all []string, err error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	needs := map[string][]string{}
	for line := range strings.Lines(string(data)) {
		name, of, _ := strings.Cut(line, ":")
		needs[name] = strings.Fields(of)
	}
	seen := map[string]bool{}
	var add func([]string)
	add = func(names []string) {
		for _, name := range names {
			if !seen[name] {
				seen[name] = true
				add(needs[name])
				all = append(all, name)
			}
		}
	}
	add(modules)
	return all, nil
}

// lzmaPack compresses as lzma_decompress.img expects it: without the header.
func lzmaPack(data []byte) ([]byte, error) {
	var packed bytes.Buffer
	w, err := lzma.WriterConfig{
		Properties: &lzma.Properties{LC: 3, LP: 0, PB: 2},
		DictCap:    1 << 20, SizeInHeader: true, Size: int64(len(data)),
	}.NewWriter(&packed)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(data); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return packed.Bytes()[lzma.HeaderLen:], nil
}
