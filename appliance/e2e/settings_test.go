package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSettings checks that every mistake is told with its line, by check and by
// serve, and that both end with status 1.
func TestSettings(t *testing.T) {
	needs(t)
	const good = `networks:
  lab:
    interface: br0
    address: 10.77.0.1/24
    pool: 10.77.0.100-10.77.0.199
machines:
  - mac: 52:54:00:77:00:01
    name: one
    image: lab@1
  - mac: 52:54:00:77:00:02
    name: two
    image: lab@1
    address: 10.77.0.12
server:
  state: `
	state := filepath.Join(cache(t), "lab-state")
	write := func(t *testing.T, text string) (name string) {
		name = filepath.Join(t.TempDir(), "swarmboot.yaml")
		if err := os.WriteFile(name, []byte(text+state+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		return name
	}
	if said, status := swarmboot(t, "check", write(t, good)); status != 0 {
		t.Fatalf("check of settings without a mistake: status %d: %s", status, said)
	}
	for _, test := range []struct {
		name     string
		old, new []string
		want     []string // each begins with the line
	}{
		{"wrong type", []string{"image: lab@1\n    address: 10.77.0.12"}, []string{"image: lab@1\n    address: twelve"}, []string{"13:", "twelve"}},
		{"duplicate MAC", []string{"00:02"}, []string{"00:01"}, []string{"10:", "line 7"}},
		{"unknown image", []string{"lab@1\n    address"}, []string{"lab@9\n    address"}, []string{"12:", "lab@9"}},
		{"address outside the network", []string{"10.77.0.12"}, []string{"10.78.0.12"}, []string{"13:", "10.77.0.0/24"}},
		{"unknown key", []string{"name: two"}, []string{"nam: two"}, []string{"11:", "nam"}},
		{"two at once", []string{"00:02", "lab@1\n  - mac"}, []string{"00:01", "lab@9\n  - mac"}, []string{"9:", "lab@9", "10:", "line 7"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			text := good
			for i, old := range test.old {
				text = strings.Replace(text, old, test.new[i], 1)
			}
			file := write(t, text)
			for _, args := range [][]string{{"check", file}, {"serve", "--config", file}} {
				said, status := swarmboot(t, args...)
				if status != 1 {
					t.Errorf("%s: status %d; want 1", args[0], status)
				}
				rest := said
				for _, want := range test.want {
					_, after, found := strings.Cut(rest, want)
					if !found {
						t.Errorf("%s says %q; want %q in this order", args[0], said, test.want)
						break
					}
					rest = after
				}
			}
		})
	}
}
