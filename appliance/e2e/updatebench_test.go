package e2e

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"swarmboot/images/builder"
	"swarmboot/images/catalogue"
	"swarmboot/images/delta"
)

// upgrade is a customize program that upgrades packages: OpenSSH, and what else the
// image has of which Debian's backports have a later version.
const upgrade = `#!/bin/sh
set -e
root=$1
cp --remove-destination /etc/resolv.conf "$root/etc/resolv.conf"
echo 'deb http://deb.debian.org/debian trixie-backports main' >"$root/etc/apt/sources.list.d/backports.list"
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod +x "$root/usr/sbin/policy-rc.d"
export DEBIAN_FRONTEND=noninteractive
chroot "$root" apt-get -qq update
chroot "$root" apt-get -qq -y -t trixie-backports upgrade
chroot "$root" apt-get -qq clean
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin "$root/usr/sbin/policy-rc.d" "$root/etc/resolv.conf"
`

// measureUpdate upgrades an image and measures what of the new one a machine
// fetches that has the old one, beside casync and desync. how are further flags of
// the build.
func measureUpdate(b *benchmark, at, old string, how ...string) {
	t := b.t
	program := filepath.Join(t.TempDir(), "upgrade")
	if err := os.WriteFile(program, []byte(upgrade), 0o755); err != nil {
		t.Fatal(err)
	}
	next := "upgraded@" + imageIn(t, at, old).Manifest.Version
	shell(t, "", swarmbootProgram(t), append([]string{"image", "build", next, "--from", "image:" + old, "--customize", program, "--state", at}, how...)...)
	what := strings.Join(append([]string{"packages of", old, "upgraded"}, how...), " ")

	before, after := imageIn(t, at, old), imageIn(t, at, next)
	var roots [2]string
	for i, image := range []*catalogue.Image{before, after} {
		roots[i] = filepath.Join(t.TempDir(), "root")
		if err := builder.Unpack(t.Context(), image, roots[i]); err != nil {
			t.Fatal(err)
		}
	}
	mib := func(n int64) float64 { return float64(n) / (1 << 20) }
	changed := changedBytes(t, roots[0], roots[1])
	b.row(what+": bytes in files that are new or not the same", mib(changed), 0, "MiB")
	b.row(what+": root file", mib(after.Manifest.Root.Size), 0, "MiB")
	moved := func(how string, n int64) {
		b.row(fmt.Sprintf("%s: moved by %s (%.2f for each byte of those files)", what, how, float64(n)/float64(changed)), mib(n), 0, "MiB")
	}
	byHash, byDelta := missing(t, before, after)
	moved("pieces alone", byHash)
	moved("blocks and delta, as machines with a cache do", byDelta)
	oldRoot, newRoot := before.Path(catalogue.Root), after.Path(catalogue.Root)
	casync, desync := []string{"casync", "make"}, filepath.Join(cache(t), "bin", "desync")
	moved("casync of the root file", chunks(t, casync, "caibx", oldRoot, newRoot))
	moved("casync of the tree", chunks(t, casync, "caidx", roots[0], roots[1]))
	moved("desync of the root file", chunks(t, []string{desync, "make"}, "caibx", oldRoot, newRoot))
	moved("desync of the tree", chunks(t, []string{desync, "tar", "--index"}, "caidx", roots[0], roots[1]))
}

// missing is how many bytes a machine fetches that has the pieces of before: if
// pieces are only known by their hash, and with a delta, which it fetches too.
func missing(t *testing.T, before, after *catalogue.Image) (byHash, byDelta int64) {
	t.Helper()
	var roots [2]*os.File
	for i, image := range []*catalogue.Image{before, after} {
		var err error
		if roots[i], err = image.Open(catalogue.Root); err != nil {
			t.Fatal(err)
		}
		defer roots[i].Close()
	}
	p := after.Manifest.Pieces
	d, err := delta.Files(roots[0], before.Manifest.Pieces, roots[1], p.Size)
	if err != nil {
		t.Fatal(err)
	}
	have := map[[32]byte]bool{}
	for i := range before.Manifest.Pieces.Count() {
		have[before.Manifest.Pieces.Sum(i)] = true
	}
	for i := range p.Count() {
		if !have[p.Sum(i)] {
			byHash += int64(p.Len(i))
		}
	}
	return byHash, d.Missing() + int64(len(d.Marshal()))
}

// chunks is how many bytes somebody fetches who has a rival's chunks of before:
// those of after that are new, compressed, and the index of that kind.
func chunks(t *testing.T, rival []string, index, before, after string) int64 {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "store"), 0o755); err != nil {
		t.Fatal(err)
	}
	stored := func(name, source string) int64 {
		shell(t, dir, rival[0], slices.Concat(rival[1:], []string{"--store", "store", name + "." + index, source})...)
		var size int64
		err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.Type().IsRegular() {
				var info fs.FileInfo
				if info, err = entry.Info(); err == nil {
					size += info.Size()
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return size
	}
	first := stored("before", before)
	return stored("after", after) - first
}

// changedBytes is the size of the files of after that before has not, or has with
// other contents.
func changedBytes(t *testing.T, before, after string) (changed int64) {
	t.Helper()
	err := filepath.WalkDir(after, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		now, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(after, path)
		if err != nil {
			return err
		}
		name := filepath.Join(before, rel)
		if info, err := os.Lstat(name); err == nil && info.Mode().IsRegular() {
			then, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			if bytes.Equal(then, now) {
				return nil
			}
		}
		changed += int64(len(now))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return changed
}
