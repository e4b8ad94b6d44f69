// Package envelope signs what the boot server tells machines and checks it on
// the machine: DSSE envelopes (https://github.com/secure-systems-lab/dsse) with
// ed25519 keys.
//
// Four documents are in envelopes, each with a payload type of its own, so that
// one can never be passed off as another: the image manifest (images.Manifest,
// signed by the builder), the boot description and the machine's identity
// (bootargs.Description and Identity, signed by the boot server), and the boot
// profile, which the boot server keeps. Both ends use this package: builder and
// bootserver sign, init and peerd verify.
package envelope

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
)

// Payload types, one for each kind of document.
const (
	ManifestType    = "application/vnd.swarmboot.manifest+json"
	DescriptionType = "application/vnd.swarmboot.description+json"
	IdentityType    = "application/vnd.swarmboot.identity+json"
	ProfileType     = "application/vnd.swarmboot.profile+json"
)

// ErrNotTrusted says that no trusted key has signed the document.
var ErrNotTrusted = errors.New("not signed by a trusted key")

// A Signer signs documents. PrivateKey is the one that there is; a key that
// stays in a hardware module or with a signing service is another.
type Signer interface {
	Public() PublicKey                                 // checks what Sign signs
	Sign(message []byte) (signature []byte, err error) // ed25519 (RFC 8032)
}

// PrivateKey signs documents with a key in memory.
type PrivateKey struct{ key ed25519.PrivateKey }

// PublicKey checks signatures.
type PublicKey struct{ key ed25519.PublicKey }

// NewKey makes a key from the system's source of randomness.
func NewKey() (PrivateKey, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return PrivateKey{}, fmt.Errorf("make a key: %w", err)
	}
	return PrivateKey{key}, nil
}

// Public returns the half that machines get.
func (k PrivateKey) Public() PublicKey { return PublicKey{k.key.Public().(ed25519.PublicKey)} }

// Sign signs message.
func (k PrivateKey) Sign(message []byte) ([]byte, error) { return ed25519.Sign(k.key, message), nil }

var keyID = regexp.MustCompile("^[0-9a-f]{16}$")

// ID names the key in envelopes and logs: the first 16 hex digits of the
// SHA-256 of the raw public key.
func (k PublicKey) ID() string {
	sum := sha256.Sum256(k.key)
	return hex.EncodeToString(sum[:8])
}

// privateType is the PEM type of PKCS #8.
const privateType = "PRIVATE KEY"

// MarshalPEM encodes the private key as PKCS #8 in PEM.
func (k PrivateKey) MarshalPEM() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k.key)
	if err != nil {
		return nil, fmt.Errorf("encode private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: privateType, Bytes: der}), nil
}

// MarshalPEM encodes the public key as PKIX in PEM.
func (k PublicKey) MarshalPEM() ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(k.key)
	if err != nil {
		return nil, fmt.Errorf("encode public key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}

// ParsePrivateKey reads what PrivateKey.MarshalPEM wrote.
func ParsePrivateKey(data []byte) (PrivateKey, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return PrivateKey{}, errors.New("private key: no PEM block")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return PrivateKey{}, fmt.Errorf("private key: %w", err)
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return PrivateKey{}, fmt.Errorf("private key: %T, want ed25519", parsed)
	}
	return PrivateKey{key}, nil
}

// ParsePublicKey reads what PublicKey.MarshalPEM wrote.
func ParsePublicKey(data []byte) (PublicKey, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return PublicKey{}, errors.New("public key: this is no file in PEM")
	}
	if block.Type == privateType {
		return PublicKey{}, errors.New("public key: this is the private half, which nobody else should have; want the other")
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return PublicKey{}, fmt.Errorf("public key: %w", err)
	}
	key, ok := parsed.(ed25519.PublicKey)
	if !ok {
		return PublicKey{}, fmt.Errorf("public key: %T, want ed25519", parsed)
	}
	return PublicKey{key}, nil
}

// ReadTrusted reads every *.pem in dir. No key at all is an error: a machine
// without keys would otherwise trust nothing or anything.
func ReadTrusted(dir string) ([]PublicKey, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.pem"))
	if err != nil {
		return nil, fmt.Errorf("list trusted keys: %w", err)
	}
	var keys []PublicKey
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("read trusted key: %w", err)
		}
		key, err := ParsePublicKey(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("no trusted key in %s", dir)
	}
	return keys, nil
}

// Sign puts payload into a signed envelope of the given type.
func Sign(key Signer, payloadType string, payload []byte) ([]byte, error) {
	signer, err := dsse.NewEnvelopeSigner(dsseKey{public: key.Public(), signer: key})
	if err != nil {
		return nil, fmt.Errorf("sign %s: %w", payloadType, err)
	}
	env, err := signer.SignPayload(context.Background(), payloadType, payload)
	if err != nil {
		return nil, fmt.Errorf("sign %s: %w", payloadType, err)
	}
	return json.Marshal(env)
}

// Open returns the payload of data if a trusted key signed it as payloadType;
// else the error is or wraps ErrNotTrusted, or tells what is malformed.
func Open(trusted []PublicKey, payloadType string, data []byte) ([]byte, error) {
	var env dsse.Envelope
	if err := json.Unmarshal(data, &env); err != nil {
		return nil, fmt.Errorf("envelope: %w", err)
	}
	if env.PayloadType != payloadType {
		return nil, fmt.Errorf("envelope holds %q, want %q", env.PayloadType, payloadType)
	}
	if len(trusted) == 0 {
		return nil, fmt.Errorf("%w: there is none yet", ErrNotTrusted)
	}
	verifiers := make([]dsse.Verifier, len(trusted))
	for i, key := range trusted {
		verifiers[i] = dsseKey{public: key}
	}
	verifier, err := dsse.NewEnvelopeVerifier(verifiers...)
	if err != nil {
		return nil, fmt.Errorf("envelope: %w", err)
	}
	if _, err := verifier.Verify(context.Background(), &env); err != nil {
		return nil, fmt.Errorf("%w%s", ErrNotTrusted, whyNot(trusted, env))
	}
	return env.DecodeB64Payload()
}

// whyNot tells what is wrong with the signatures of env, none of which counts.
func whyNot(trusted []PublicKey, env dsse.Envelope) (why string) {
	for _, signature := range env.Signatures {
		switch known := func(k PublicKey) bool { return k.ID() == signature.KeyID }; {
		case slices.ContainsFunc(trusted, known):
			return "; it was changed after key " + signature.KeyID + " had signed it"
		case keyID.MatchString(signature.KeyID): // written by anybody
			why = "; it is said to be signed by key " + signature.KeyID
		}
	}
	return why
}

// dsseKey is one of our keys as the library wants to see it.
type dsseKey struct {
	public PublicKey
	signer Signer // nil in a verifier
}

func (k dsseKey) Sign(_ context.Context, data []byte) ([]byte, error) {
	return k.signer.Sign(data)
}

func (k dsseKey) Verify(_ context.Context, data, sig []byte) error {
	if !ed25519.Verify(k.public.key, data, sig) {
		return ErrNotTrusted
	}
	return nil
}

func (k dsseKey) KeyID() (string, error) { return k.public.ID(), nil }

func (k dsseKey) Public() crypto.PublicKey { return k.public.key }
