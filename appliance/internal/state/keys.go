package state

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"swarmboot/initramfs/envelope"
	"swarmboot/initramfs/wholefile"
)

func (f Folder) privateKey() string { return filepath.Join(string(f), "keys", "swarmboot.key") }
func (f Folder) publicKey() string  { return filepath.Join(string(f), "keys", "swarmboot.pub") }

// TrustedDir is the folder with the keys of others whose signatures count.
func (f Folder) TrustedDir() string { return filepath.Join(string(f), "keys", "trusted") }

// A TrustedKey is a key whose signatures count here.
type TrustedKey struct {
	Public envelope.PublicKey
	File   string
	Signs  bool // it is the one that signs here
}

// Keys are the keys whose signatures count: the folder's own first, if there is
// one yet, then those of others.
func (f Folder) Keys() ([]TrustedKey, error) {
	var keys []TrustedKey
	others, err := filepath.Glob(filepath.Join(f.TrustedDir(), "[^.]*.pub"))
	if err != nil {
		return nil, err
	}
	for i, file := range append([]string{f.publicKey()}, others...) {
		data, err := os.ReadFile(file)
		if i == 0 && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read a key that images are checked with: %w", err)
		}
		key, err := envelope.ParsePublicKey(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		keys = append(keys, TrustedKey{key, file, i == 0})
	}
	return keys, nil
}

// Trust makes the signatures of key count.
func (f Folder) Trust(key envelope.PublicKey) error {
	data, err := key.MarshalPEM()
	if err == nil {
		err = os.MkdirAll(f.TrustedDir(), 0o700)
	}
	if err != nil {
		return fmt.Errorf("trust key %s: %w", key.ID(), err)
	}
	if err := wholefile.Write(filepath.Join(f.TrustedDir(), key.ID()+".pub"), data, 0o600); err != nil {
		return fmt.Errorf("trust key %s: %w", key.ID(), err)
	}
	return nil
}

// Distrust makes the signatures of the key with that ID count no more. The key
// that signs here cannot be distrusted.
func (f Folder) Distrust(id string) error {
	keys, err := f.Keys()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(keys, func(k TrustedKey) bool { return k.Public.ID() == id && !k.Signs })
	if i < 0 {
		if len(keys) > 0 && keys[0].Signs && keys[0].Public.ID() == id {
			return fmt.Errorf("key %s signs here; replace it with 'swarmboot key new --replace' first", id)
		}
		return fmt.Errorf("no key %s is trusted; 'swarmboot key list' shows those that are", id)
	}
	return os.Remove(keys[i].File)
}

// ErrHasKey says that there is a signing key already.
var ErrHasKey = errors.New("there is a signing key already; to have another, use --replace")

// NewKey makes a signing key. It replaces one that is there only if told to,
// and then goes on trusting the old one, whose images stay.
func (f Folder) NewKey(replace bool) (envelope.PrivateKey, error) {
	if _, err := os.Stat(f.privateKey()); err == nil {
		if !replace {
			return envelope.PrivateKey{}, ErrHasKey
		}
		old, err := f.Key()
		if err != nil {
			return envelope.PrivateKey{}, err
		}
		if err := f.Trust(old.Public()); err != nil {
			return envelope.PrivateKey{}, err
		}
		if err := os.Remove(f.privateKey()); err != nil {
			return envelope.PrivateKey{}, err
		}
	}
	return f.Key()
}

// Key reads the key that signs images and boot descriptions, and makes it
// where there is none. Of several commands that make it at the same moment, one
// wins and the others read its key.
func (f Folder) Key() (envelope.PrivateKey, error) {
	data, err := os.ReadFile(f.privateKey())
	if errors.Is(err, fs.ErrNotExist) {
		if err := f.makeKey(); err != nil {
			return envelope.PrivateKey{}, fmt.Errorf("make the signing key %s: %w", f.privateKey(), err)
		}
		data, err = os.ReadFile(f.privateKey())
	}
	if err != nil {
		return envelope.PrivateKey{}, fmt.Errorf("read the signing key: %w", err)
	}
	key, err := envelope.ParsePrivateKey(data)
	if err != nil {
		return envelope.PrivateKey{}, fmt.Errorf("%s: %w", f.privateKey(), err)
	}
	return key, f.publish(key.Public())
}

func (f Folder) makeKey() error {
	key, err := envelope.NewKey()
	if err != nil {
		return err
	}
	data, err := key.MarshalPEM()
	if err != nil {
		return err
	}
	dir := filepath.Dir(f.privateKey())
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	file, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	_, err = file.Write(data)
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	// Unlike a rename, a link never replaces the key of another command.
	if err := os.Link(file.Name(), f.privateKey()); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// publish writes the public half beside the private one, unless it is there.
func (f Folder) publish(key envelope.PublicKey) error {
	want, err := key.MarshalPEM()
	if err != nil {
		return err
	}
	if have, err := os.ReadFile(f.publicKey()); err == nil && bytes.Equal(have, want) {
		return nil
	}
	if err := wholefile.Write(f.publicKey(), want, 0o600); err != nil {
		return fmt.Errorf("write the public key %s: %w", f.publicKey(), err)
	}
	return nil
}
