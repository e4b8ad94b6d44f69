package envelope

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRoundTrip(t *testing.T) {
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	data, err := Sign(key, ManifestType, []byte(`{"name":"lab"}`))
	if err != nil {
		t.Fatal(err)
	}
	got, err := Open([]PublicKey{key.Public()}, ManifestType, data)
	if err != nil || string(got) != `{"name":"lab"}` {
		t.Errorf("Open = %q, %v; want the payload", got, err)
	}
}

func TestOpenRefuses(t *testing.T) {
	key, _ := NewKey()
	stranger, _ := NewKey()
	data, err := Sign(key, ManifestType, []byte("payload"))
	if err != nil {
		t.Fatal(err)
	}
	tampered := bytes.Replace(data, []byte("cGF5bG9hZA"), []byte("dGF5bG9hZA"), 1)
	if bytes.Equal(tampered, data) {
		t.Fatal("the test did not find the payload to tamper with")
	}
	for _, c := range []struct {
		name    string
		trusted PublicKey
		kind    string
		data    []byte
		trust   bool   // the reason is a missing signature
		say     string // in the error
	}{
		{"other key", stranger.Public(), ManifestType, data, true, "said to be signed by key " + key.Public().ID()},
		{"tampered payload", key.Public(), ManifestType, tampered, true, "changed after key " + key.Public().ID()},
		{"other type", key.Public(), DescriptionType, data, false, ManifestType},
		{"no JSON", key.Public(), ManifestType, []byte("hello"), false, ""},
		{"no signature", key.Public(), ManifestType, []byte(`{"payloadType":"` + ManifestType + `","payload":"cGF5bG9hZA=="}`), true, ""},
		{"a key's name made up", key.Public(), ManifestType, bytes.Replace(data, []byte(key.Public().ID()), []byte(`\u001b[2J`), 1), true, ""},
	} {
		_, err := Open([]PublicKey{c.trusted}, c.kind, c.data)
		if err == nil || errors.Is(err, ErrNotTrusted) != c.trust || !strings.Contains(err.Error(), c.say) || strings.Contains(err.Error(), "\x1b") {
			t.Errorf("%s: Open error = %v; want one with %q, ErrNotTrusted %v", c.name, err, c.say, c.trust)
		}
	}
	if _, err := Open(nil, ManifestType, data); !errors.Is(err, ErrNotTrusted) {
		t.Errorf("Open without a key = %v; want ErrNotTrusted", err)
	}
}

// elsewhere signs with a key that never is in this program's hands.
type elsewhere struct {
	public PublicKey
	sign   func([]byte) ([]byte, error)
}

func (e elsewhere) Public() PublicKey                   { return e.public }
func (e elsewhere) Sign(message []byte) ([]byte, error) { return e.sign(message) }

func TestSignerElsewhere(t *testing.T) {
	key, _ := NewKey()
	data, err := Sign(elsewhere{key.Public(), key.Sign}, ManifestType, []byte("payload"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Open([]PublicKey{key.Public()}, ManifestType, data); err != nil || string(got) != "payload" {
		t.Errorf("Open = %q, %v; want the payload", got, err)
	}
	away := errors.New("the signing service does not answer")
	if _, err := Sign(elsewhere{key.Public(), func([]byte) ([]byte, error) { return nil, away }}, ManifestType, nil); !errors.Is(err, away) {
		t.Errorf("Sign = %v; want what the signer said", err)
	}
}

func TestKeysAsPEM(t *testing.T) {
	key, _ := NewKey()
	private, err := key.MarshalPEM()
	if err != nil {
		t.Fatal(err)
	}
	back, err := ParsePrivateKey(private)
	if err != nil || back.Public().ID() != key.Public().ID() {
		t.Fatalf("ParsePrivateKey = %v, %v; want the same key", back.Public().ID(), err)
	}
	public, err := key.Public().MarshalPEM()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if _, err := ReadTrusted(dir); err == nil {
		t.Error("ReadTrusted of an empty folder succeeded; want an error")
	}
	if err := os.WriteFile(filepath.Join(dir, "a.pem"), public, 0o600); err != nil {
		t.Fatal(err)
	}
	trusted, err := ReadTrusted(dir)
	if err != nil || len(trusted) != 1 || trusted[0].ID() != key.Public().ID() {
		t.Errorf("ReadTrusted = %v, %v; want the one key", trusted, err)
	}
}

func FuzzOpen(f *testing.F) {
	key, _ := NewKey()
	data, err := Sign(key, ManifestType, []byte("payload"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{}`))
	stranger, _ := NewKey()
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := Open([]PublicKey{stranger.Public()}, ManifestType, data); err == nil {
			t.Error("Open trusted a document that the key never signed")
		}
	})
}
