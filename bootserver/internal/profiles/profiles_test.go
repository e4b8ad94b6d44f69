package profiles

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"testing"

	"swarmboot/initramfs/envelope"
	"swarmboot/initramfs/stage"
)

func newProfiles(t *testing.T) *Store {
	t.Helper()
	key, err := envelope.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	p, err := Open(t.TempDir(), key, func() []envelope.PublicKey { return []envelope.PublicKey{key.Public()} })
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestProfiles(t *testing.T) {
	p := newProfiles(t)
	get := func(want ...int) {
		t.Helper()
		if got, err := p.Get("digest", 20); err != nil || !slices.Equal(got, want) {
			t.Errorf("get = %v, %v; want %v", got, err, want)
		}
	}
	get(0, 12, 13, 14, 15, 16, 17, 18, 19)
	if got, _ := p.Get("digest", 3); !slices.Equal(got, []int{0, 1, 2}) {
		t.Errorf("get of a small image = %v; want all its pieces once", got)
	}
	if boots, err := p.Record("digest", "lab@1", 20, []stage.Touch{{Piece: 99}}); boots != 0 || err != nil {
		t.Errorf("record of what is no piece = %v, %v; want it left out", boots, err)
	}
	touched := []stage.Touch{{Piece: 7, Millis: 30}, {Piece: 0, Millis: 1}, {Piece: 7, Millis: 40}, {Piece: 20, Millis: 2}, {Piece: 19, Millis: 3}}
	if boots, err := p.Record("digest", "lab@1", 20, touched); boots != 1 || err != nil {
		t.Fatalf("record = %v, %v", boots, err)
	}
	get(0, 19, 7)
	if hot := len(p.Order("digest")); hot != 3 {
		t.Errorf("hot = %d; want 3", hot)
	}
	// A server that is started anew knows as much.
	p.known = map[string]profile{}
	get(0, 19, 7)
}

// TestProfilesMerge: machines read the same in another order, and one of five
// reads something of its own.
func TestProfilesMerge(t *testing.T) {
	p := newProfiles(t)
	for boot := range 5 {
		touched := []stage.Touch{{Piece: 1, Millis: 10}, {Piece: 2, Millis: int64(100 * boot)}, {Piece: 3, Millis: 150}}
		if boot == 0 {
			touched = append(touched, stage.Touch{Piece: 4, Millis: 1})
		}
		if boots, err := p.Record("digest", "lab@1", 20, touched); err != nil || boots != boot+1 {
			t.Fatalf("record = %d, %v; want %d boots", boots, err, boot+1)
		}
	}
	if got, err := p.Get("digest", 20); err != nil || !slices.Equal(got, []int{1, 3, 2}) {
		t.Errorf("get = %v, %v; want 1 3 2: by mean time, without what one boot in five has read", got, err)
	}
}

// TestProfilesFollow: what no machine reads any more is forgotten.
func TestProfilesFollow(t *testing.T) {
	var p profile
	for range maxBoots {
		p = p.merge([]stage.Touch{{Piece: 1}}, 20)
	}
	for range 3 * maxBoots {
		p = p.merge([]stage.Touch{{Piece: 2}}, 20)
	}
	if got := p.order(); !slices.Equal(got, []int{2}) || p.Boots >= maxBoots {
		t.Errorf("order = %v from %d boots; want 2 alone, from less than %d", got, p.Boots, maxBoots)
	}
}

func TestProfileThatWasChangedIsNotUsed(t *testing.T) {
	p := newProfiles(t)
	if _, err := p.Record("digest", "lab@1", 20, []stage.Touch{{Piece: 7}}); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(p.path("digest"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p.path("digest"), bytes.Replace(data, []byte(`"payload":"ey`), []byte(`"payload":"ez`), 1), 0o644); err != nil {
		t.Fatal(err)
	}
	p.known = map[string]profile{}
	got, err := p.Get("digest", 3)
	if !errors.Is(err, envelope.ErrNotTrusted) || !slices.Equal(got, []int{0, 1, 2}) {
		t.Errorf("get = %v, %v; want ErrNotTrusted and what a mount reads", got, err)
	}
	if boots, err := p.Record("digest", "lab@1", 20, []stage.Touch{{Piece: 5}}); err != nil || boots != 1 {
		t.Errorf("record = %d, %v; want it replaced", boots, err)
	}
	if got, err := p.Get("digest", 20); err != nil || !slices.Equal(got, []int{5}) {
		t.Errorf("get = %v, %v; want 5", got, err)
	}
}

func FuzzOpenProfile(f *testing.F) {
	key, err := envelope.NewKey()
	if err != nil {
		f.Fatal(err)
	}
	trusted := []envelope.PublicKey{key.Public()}
	f.Add([]byte(`{"version":1,"boots":2,"reads":[{"piece":1,"boots":2,"ms":3.5}]}`))
	f.Add([]byte(`{"version":1,"boots":-2,"reads":[{"piece":-1,"boots":-2,"ms":1e300},{"piece":-1}]}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		data, err := envelope.Sign(key, envelope.ProfileType, payload)
		if err != nil {
			t.Fatal(err)
		}
		if p, err := openProfile(trusted, data); err == nil {
			for _, piece := range within(p.merge([]stage.Touch{{Piece: 3}}, 20).order(), 20) {
				if piece < 0 || piece >= 20 {
					t.Errorf("piece %d of 20", piece)
				}
			}
		}
	})
}
