package bench

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"swarmboot/initramfs/nettest"
)

// rounds of each load but HTTP's; the median counts.
const rounds = 3

// A bench gathers measurements.
type bench struct {
	t    *testing.T
	wire *wire
	dir  string // for what servers write: on the disk whose flushes are measured

	program, initramfs string // of ours
	cache              string // images and loaders of the lab
	loaders            string // the lab's, and the file of TFTP's loads
	sum                []byte // of that file

	values map[key][]float64
	order  []key
}

// A key names what was measured, and of whom.
type key struct{ Part, Measure, Server, Unit string }

func (b *bench) add(part, measure, server, unit string, value float64) {
	k := key{part, measure, server, unit}
	if _, known := b.values[k]; !known {
		b.order = append(b.order, k)
	}
	b.values[k] = append(b.values[k], value)
	b.t.Logf("%s: %s: %s %.4g %s", part, server, measure, value, unit)
}

// median of all rounds; 0 if there was none.
func (b *bench) median(part, measure, server string) float64 {
	for _, k := range b.order {
		if k.Part == part && k.Measure == measure && k.Server == server {
			values := slices.Sorted(slices.Values(b.values[k]))
			return values[len(values)/2]
		}
	}
	return 0
}

// TestBench measures everything. It fails only if a server does not serve: a
// goal that is missed is told in the table.
func TestBench(t *testing.T) {
	folder := os.Getenv("SWARMBOOT_BENCH")
	if folder == "" {
		t.Skip("takes several minutes, and the whole computer; run it by make bench-bootserver")
	}
	if !nettest.AsRoot(t) {
		return
	}
	b := newBench(t)
	parts := map[string]func(){"DHCP": b.dhcp, "TFTP": b.tftp, "HTTP": b.http}
	only := os.Getenv("SWARMBOOT_BENCH_ONLY") // one part, while working on it: nothing is written then
	for _, part := range []string{"TFTP", "HTTP", "DHCP"} {
		if only == "" || only == part {
			parts[part]()
		}
	}
	if only == "" && !t.Failed() {
		b.report(folder)
	}
}

func newBench(t *testing.T) *bench {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	build, err := filepath.Abs("../../build")
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, cache: filepath.Join(cache, "swarmboot"), values: map[key][]float64{},
		program: filepath.Join(build, "bin", "swarmboot"), initramfs: filepath.Join(build, "initramfs.cpio.zst")}
	for _, file := range []string{b.program, b.initramfs, filepath.Join(b.cache, "lab-state"), filepath.Join(b.cache, "rivals", "run")} {
		if _, err := os.Stat(file); err != nil {
			t.Skipf("%s is missing; make bench-bootserver makes it", file)
		}
	}
	// Not in /tmp, which is memory on some computers.
	if b.dir, err = os.MkdirTemp(b.cache, "bench-"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(b.dir) })
	b.loaders = filepath.Join(b.dir, "loaders")
	if err := os.CopyFS(b.loaders, os.DirFS(filepath.Join(b.cache, "loaders"))); err != nil {
		t.Fatal(err)
	}
	data := make([]byte, fileSize)
	for i, random := 0, rand.New(rand.NewPCG(1, 2)); i < len(data); i++ {
		data[i] = byte(random.Uint32())
	}
	sum := sha256.Sum256(data)
	b.sum = sum[:]
	if err := os.WriteFile(filepath.Join(b.loaders, fileName), data, 0o644); err != nil {
		t.Fatal(err)
	}
	b.wire = newWire(t, filepath.Join(b.cache, "rivals"))
	return b
}

// computer tells what the figures come from.
func computer() string {
	model := "unknown processor"
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(info)) {
			if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	load, _ := os.ReadFile("/proc/loadavg")
	return fmt.Sprintf("%s, Linux %s, load %s", model, strings.TrimSpace(string(kernel)), strings.SplitN(string(load), " ", 2)[0])
}
