package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"swarmboot/images/builder"
)

// TestImageBenchmark measures how images are made, and what an update of one moves
// (make bench-images). It boots nothing.
func TestImageBenchmark(t *testing.T) {
	folder := os.Getenv("SWARMBOOT_BENCH")
	if folder == "" {
		t.Skip("takes some minutes; run it by make bench-images")
	}
	needs(t)
	at := newStateWithLab(t)

	b := &benchmark{t: t}
	root, plain := filepath.Join(t.TempDir(), "root"), filepath.Join(t.TempDir(), "plain.squashfs")
	if err := builder.Unpack(t.Context(), imageIn(t, at, "lab@1"), root); err != nil {
		t.Fatal(err)
	}
	b.row("mksquashfs of lab@1's tree, time", timed(func() {
		shell(t, "", "mksquashfs", root, plain, "-comp", "zstd", "-b", "128K", "-quiet", "-no-progress")
	}), 0, "s")
	took := timed(func() {
		shell(t, "", swarmbootProgram(t), "image", "build", "built@1", "--from", "dir:"+root, "--kernel-from", "image:lab@1", "--state", at)
	})
	b.row("image build of the same tree: copied, with kernel and modules, hashed, signed", took, 0, "s")
	info, err := os.Stat(plain)
	if err != nil {
		t.Fatal(err)
	}
	b.row("mksquashfs, size", float64(info.Size())/(1<<20), 0, "MiB")
	b.row("image build, size of the root", float64(imageIn(t, at, "built@1").Manifest.Root.Size)/(1<<20), 0, "MiB")
	measureUpdate(b, at, "lab@1")
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		t.Fatal(err)
	}
	b.write(folder, "images", fmt.Sprintf("# How images are made, and what an update moves to a machine that has the old version\n\nWritten by `make bench-images` on %s; raw results in images.json. The load of the computer, with %d processors, was %.4s.\n"+
		"The update is lab@1 built anew with packages from Debian's backports. What casync and desync move are the compressed chunks that the\n"+
		"old version has not, and the index; what ours moves are blocks of 16 KiB, as they lie in the compressed root, and the delta.", time.Now().Format(time.DateOnly), runtime.NumCPU(), load))
}

// TestLayoutBenchmark measures what the order of an image's files is worth to a
// machine (make bench-images).
func TestLayoutBenchmark(t *testing.T) {
	folder := os.Getenv("SWARMBOOT_BENCH")
	if folder == "" {
		t.Skip("takes some minutes; run it by make bench-images")
	}
	needs(t)
	at := newStateWithLab(t)
	b := &benchmark{t: t}
	before, pieces := train(t, at, "lab@1")
	shell(t, "", swarmbootProgram(t), "image", "build", "lab@2", "--from", "image:lab@1", "--optimize", "lab@1", "--state", at)
	after, _ := train(t, at, "lab@2")
	b.share("pieces read until ready, of all", before, pieces, 0)
	b.share("the same, built with --optimize", after, pieces, 0)
	b.share("with --optimize against without", after, before, 60)
	measureUpdate(b, at, "lab@2", "--optimize", "lab@1")
	b.write(folder, "layout", "# What the order of an image's files is worth\n\nWritten by `make bench-images` on "+time.Now().Format(time.DateOnly)+
		"; raw results in layout.json. A piece has 256 KiB; the boots are those of `image train`.")
}

// needsImages is needs, for what is not in make test.
func needsImages(t *testing.T) {
	t.Helper()
	if os.Getenv("SWARMBOOT_IMAGES") == "" {
		t.Skip("takes some minutes; run it by make e2e-images")
	}
	needs(t)
}

// learned is what image train says.
var learned = regexp.MustCompile(`until then it read (\d+) of (\d+) pieces .* and opened (\d+) files`)

// train has an image booted and tells how many pieces that read, and how many
// there are.
func train(t *testing.T, at, name string) (read, pieces int) {
	t.Helper()
	out, status := swarmboot(t, "image", "train", name, "--state", at, "--loaders", filepath.Join(cache(t), "loaders"), "--initramfs", initramfsFile(t))
	m := learned.FindStringSubmatch(out)
	if status != 0 || m == nil {
		t.Fatalf("image train %s: status %d:\n%s", name, status, out)
	}
	t.Log(strings.TrimSpace(out[strings.LastIndex(strings.TrimSpace(out), "\n")+1:]))
	read, _ = strconv.Atoi(m[1])
	pieces, _ = strconv.Atoi(m[2])
	return read, pieces
}

// newStateWithLab makes a state folder with the lab's keys and a copy of lab@1.
func newStateWithLab(t *testing.T) string {
	t.Helper()
	folder, archive := newState(t), filepath.Join(t.TempDir(), "lab.tar")
	shell(t, "", swarmbootProgram(t), "image", "export", "lab@1", archive, "--state", filepath.Join(cache(t), "lab-state"))
	shell(t, "", swarmbootProgram(t), "image", "import", archive, "--state", folder)
	return folder
}

// timed is how many seconds do takes.
func timed(do func()) float64 {
	begun := time.Now()
	do()
	return time.Since(begun).Seconds()
}

// TestTrain boots an image before any machine does, and one that is laid out by
// what that boot has opened.
func TestTrain(t *testing.T) {
	needsImages(t)
	at := newStateWithLab(t)
	var before, after int
	promise(t, "an image is trained", func(t *testing.T) {
		before, _ = train(t, at, "lab@1")
		if _, err := os.Stat(filepath.Join(at, "profiles", imageIn(t, at, "lab@1").Digest+".json")); err != nil {
			t.Errorf("no profile is kept: %v", err)
		}
	})
	promise(t, "a boot of the optimized image reads 60 % of the pieces at most", func(t *testing.T) {
		shell(t, "", swarmbootProgram(t), "image", "build", "lab@2", "--from", "image:lab@1", "--optimize", "lab@1", "--state", at)
		after, _ = train(t, at, "lab@2")
		if after*100 > before*60 {
			t.Errorf("it reads %d; want 60 %% of %d at most", after, before)
		}
	})
}
