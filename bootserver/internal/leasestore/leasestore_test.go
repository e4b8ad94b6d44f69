package leasestore_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"swarmboot/bootserver/internal/leasestore"
	"swarmboot/bootserver/internal/leasestore/leasestoretest"
)

var quiet = slog.New(slog.DiscardHandler)

func TestBolt(t *testing.T) {
	leasestoretest.Run(t, func(t *testing.T) leasestoretest.Open {
		file := filepath.Join(t.TempDir(), "leases.db")
		return func(t *testing.T) leasestore.Store { return open(t, file, quiet) }
	})
}

func open(t *testing.T, file string, log *slog.Logger) *leasestore.Bolt {
	t.Helper()
	s, err := leasestore.Open(file, log)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// lease of machine n lasts until a day from now.
func lease(n int) leasestore.Lease {
	return leasestore.Lease{
		Pool: "hall", Address: netip.AddrFrom4([4]byte{10, 77, byte(n >> 8), byte(n)}),
		MAC: [6]byte{0x52, 0x54, 0, 0x77, byte(n >> 8), byte(n)}, Expires: time.Now().Add(24 * time.Hour),
	}
}

// filled makes a file of so many leases.
func filled(t *testing.T, leases int) []byte {
	t.Helper()
	file := filepath.Join(t.TempDir(), "leases.db")
	s := open(t, file, quiet)
	for i := range leases {
		if err := s.Claim(t.Context(), lease(i), time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestTornFile: whatever is left of a file, the server starts and gives out
// addresses, and nothing is thrown away.
func TestTornFile(t *testing.T) {
	whole := filled(t, 60)
	random := rand.New(rand.NewPCG(1, 2))
	torn := map[string][]byte{"text": []byte("these are no leases\n"), "zeros": make([]byte, len(whole)), "one byte": {1}}
	for cut := 1; cut < len(whole); cut += 1 + len(whole)/40 {
		torn[fmt.Sprintf("the first %d bytes", cut)] = whole[:cut]
	}
	for i := range 150 {
		data := bytes.Clone(whole)
		at := random.IntN(len(data))
		end := min(len(data), at+1+random.IntN(4096))
		for ; at < end; at++ {
			data[at] = byte(random.Uint32())
		}
		torn[fmt.Sprintf("noise %d", i)] = data
	}
	for name, data := range torn {
		dir := t.TempDir()
		file := filepath.Join(dir, "leases.db")
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		s := open(t, file, slog.New(slog.NewTextHandler(&log, nil)))
		known, err := s.All(t.Context())
		if err != nil {
			t.Errorf("%s: All = %v", name, err)
		}
		if err := s.Claim(t.Context(), lease(999), time.Now()); err != nil {
			t.Errorf("%s: Claim = %v", name, err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("%s: Close = %v", name, err)
		}
		aside, _ := filepath.Glob(filepath.Join(dir, "leases.db.damaged-*"))
		switch {
		case len(aside) == 0 && len(known) == 0:
			t.Errorf("%s: all leases are lost, and nothing was moved aside", name)
		case len(aside) > 0 && !strings.Contains(log.String(), aside[0]):
			t.Errorf("%s: moved aside without a word; the log says %s", name, &log)
		case len(aside) > 0:
			if kept, err := os.ReadFile(aside[0]); err != nil || !bytes.Equal(kept, data) {
				t.Errorf("%s: what was moved aside is not what was there (%v)", name, err)
			}
		}
	}
}

func TestSecondServer(t *testing.T) {
	file := filepath.Join(t.TempDir(), "leases.db")
	defer open(t, file, quiet).Close()
	_, err := leasestore.Open(file, quiet)
	if err == nil || !strings.Contains(err.Error(), "another swarmboot serves from this state folder") {
		t.Errorf("second Open = %v; want a word about the other server", err)
	}
}

// TestFullDisk fills the file system under the file, sees claims refused, makes
// room, and sees them granted again.
func TestFullDisk(t *testing.T) {
	if os.Getenv("SWARMBOOT_E2E") != "1" {
		t.Skip("mounts a small file system, as root; set SWARMBOOT_E2E=1")
	}
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=256k", "leases", dir).CombinedOutput(); err != nil {
		t.Fatalf("mount: %v: %s", err, out)
	}
	defer func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	}()
	var log bytes.Buffer
	s := open(t, filepath.Join(dir, "leases.db"), slog.New(slog.NewTextHandler(&log, nil)))
	defer s.Close()
	if err := s.Claim(t.Context(), lease(0), time.Now()); err != nil {
		t.Fatal(err)
	}
	junk := filepath.Join(dir, "junk")
	if err := os.WriteFile(junk, make([]byte, 1<<20), 0o600); err == nil {
		t.Fatal("the disk is not full")
	}
	stored, refused := 1, error(nil)
	for ; refused == nil && stored < 10000; stored++ {
		refused = s.Claim(t.Context(), lease(stored), time.Now())
	}
	stored--
	const remedy = "make room on its file system"
	if refused == nil || !strings.Contains(refused.Error(), remedy) {
		t.Fatalf("Claim on a full disk = %v; want %q", refused, remedy)
	}
	if err := s.Healthy(); err == nil || !strings.Contains(err.Error(), remedy) {
		t.Errorf("Healthy() = %v; want %q", err, remedy)
	}
	if !strings.Contains(log.String(), remedy) {
		t.Errorf("the log says %s; want %q", &log, remedy)
	}
	if known, err := s.All(t.Context()); err != nil || len(known) != stored {
		t.Errorf("All = %d leases, %v; want the %d that were stored", len(known), err, stored)
	}
	if err := os.Remove(junk); err != nil {
		t.Fatal(err)
	}
	if err := s.Claim(t.Context(), lease(stored), time.Now()); err != nil {
		t.Errorf("Claim with room again = %v", err)
	}
	if err := s.Healthy(); err != nil {
		t.Errorf("Healthy() = %v; want nil", err)
	}
}

func BenchmarkClaims(b *testing.B) {
	s, err := leasestore.Open(filepath.Join(b.TempDir(), "leases.db"), quiet)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	b.SetParallelism(64)
	next := make(chan int)
	go func() {
		for i := range b.N {
			next <- i % 65536
		}
		close(next)
	}()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := s.Claim(b.Context(), lease(<-next), time.Now()); err != nil {
				b.Error(err)
			}
		}
	})
}
