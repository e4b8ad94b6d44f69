package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"swarmboot/initramfs/stage"
	"swarmboot/peerd/internal/piecestore"
	"swarmboot/peerd/internal/rootfs"
)

const (
	// rounds is how often each way of reading is measured, in turn with the way it
	// is compared with, so that what else the computer does hits both.
	rounds = 21

	// passes is how often one measurement reads all: once takes 20 ms, in which the
	// scheduler alone makes a tenth of a difference.
	passes = 4
)

// A comparison is one kind of read by two ways, in bytes a second.
type comparison struct {
	Kind  string    `json:"kind"`
	Ours  []float64 `json:"ours"`
	Plain []float64 `json:"plain"`
}

// ratio is the median of ours / plain, round by round.
func (c comparison) ratio() float64 {
	ratios := make([]float64, len(c.Ours))
	for i := range c.Ours {
		ratios[i] = c.Ours[i] / c.Plain[i]
	}
	slices.Sort(ratios)
	return ratios[len(ratios)/2]
}

// TestBench compares reads of the root's loop device, before and after the
// hand-over, with those of a loop device that has been on a plain file from the
// start (make bench-boot). All reads are direct, of pieces that are here.
func TestBench(t *testing.T) {
	folder := os.Getenv("SWARMBOOT_BENCH")
	if folder == "" {
		t.Skip("compares speeds; run it by make bench-boot")
	}
	const mebibytes = 128
	m := newMachine(t, mebibytes, 4*mebibytes-1) // one of the last pieces
	end := m.pieces.Offset(4*mebibytes - 1)
	ours, plain := m.open(), m.plainLoop(t)
	for off := int64(0); off < end; off += m.pieces.Length {
		check(t, m.read(ours, alignedBuffer(int(m.pieces.Length)), off))
	}

	results := compare(t, "over FUSE", ours, plain, end)
	m.server.release(end)
	check(t, m.read(ours, alignedBuffer(int(m.pieces.Length)), end))
	m.server.wait(stage.Seeding)
	results = append(results, compare(t, "after the hand-over", ours, plain, end)...)

	var table strings.Builder
	fmt.Fprintf(&table, "# Reads of the root against a plain loop device\n\nWritten by `make bench-boot` on %s; raw results in reads.json. Direct reads of %d MiB in\nmemory, median of %d rounds in which both take turns. Budget: 0.95 after the hand-over.\n\n| reads | ours / plain |\n|---|---|\n",
		time.Now().Format(time.DateOnly), end>>20, rounds)
	for _, c := range results {
		fmt.Fprintf(&table, "| %s | %.2f |\n", c.Kind, c.ratio())
	}
	t.Logf("\n%s", table.String())
	raw, err := json.MarshalIndent(results, "", "\t")
	check(t, err)
	check(t, os.WriteFile(filepath.Join(folder, "reads.md"), []byte(table.String()), 0o644))
	check(t, os.WriteFile(filepath.Join(folder, "reads.json"), append(raw, '\n'), 0o644))
}

// plainLoop is a loop device on a copy of the image, kept as peerd keeps its own.
func (m *machine) plainLoop(t *testing.T) *os.File {
	folder := filepath.Join(t.TempDir(), "plain")
	check(t, piecestore.MountMemory(folder, int64(len(m.image))))
	t.Cleanup(func() { unix.Unmount(folder, unix.MNT_DETACH) })
	file := filepath.Join(folder, "root")
	check(t, os.WriteFile(file, m.image, 0o400))
	device := freeLoop(t)
	loop, err := rootfs.Attach(device, file)
	check(t, err)
	t.Cleanup(func() {
		check(t, loop.Detach())
		loop.Close()
	})
	dev, err := os.OpenFile(device, os.O_RDONLY|unix.O_DIRECT, 0)
	check(t, err)
	t.Cleanup(func() { dev.Close() })
	return dev
}

func compare(t *testing.T, when string, ours, plain *os.File, end int64) []comparison {
	sequential := comparison{Kind: "sequential, 1 MiB, " + when}
	random := comparison{Kind: "random, 4 KiB, " + when}
	for round := range rounds {
		inTurn(round, func() { sequential.Ours = append(sequential.Ours, readSequential(t, ours, end)) },
			func() { sequential.Plain = append(sequential.Plain, readSequential(t, plain, end)) })
		inTurn(round, func() { random.Ours = append(random.Ours, readRandom(t, ours, end)) },
			func() { random.Plain = append(random.Plain, readRandom(t, plain, end)) })
	}
	return []comparison{sequential, random}
}

// inTurn does both, each first in every other round.
func inTurn(round int, a, b func()) {
	if round%2 == 1 {
		a, b = b, a
	}
	a()
	b()
}

// readSequential reads [0, end) so many times and returns the bytes a second.
func readSequential(t *testing.T, dev *os.File, end int64) float64 {
	buf := alignedBuffer(1 << 20)
	defer unix.Munmap(buf)
	begun := time.Now()
	for range passes {
		for off := int64(0); off < end; off += int64(len(buf)) {
			_, err := dev.ReadAt(buf[:min(int64(len(buf)), end-off)], off)
			check(t, err)
		}
	}
	return passes * float64(end) / time.Since(begun).Seconds()
}

// readRandom reads blocks of 4 KiB, the same ones each time.
func readRandom(t *testing.T, dev *os.File, end int64) float64 {
	const reads = 8192
	buf, random, begun := alignedBuffer(4<<10), rand.New(rand.NewPCG(1, 2)), time.Now()
	for range reads {
		_, err := dev.ReadAt(buf, random.Int64N(end/4096)*4096)
		check(t, err)
	}
	return reads * 4096 / time.Since(begun).Seconds()
}
