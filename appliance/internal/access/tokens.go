// Package access lets admins, and nobody else, to the admin's listener.
//
// An admin has a token (tokens.go), which 'swarmboot token new' makes. Programs
// send it with each request; a browser gives it once and is known by a cookie
// from then on. Gate (gate.go) asks for either, and says in the log who came
// in and who was refused. Package api asks who makes a change; cmd/swarmboot puts
// the gate before it.
package access

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"swarmboot/initramfs/wholefile"

	"golang.org/x/sys/unix"
)

// Scope is what a token opens.
type Scope string

const (
	Read    Scope = "read"    // everything there is to see
	Write   Scope = "write"   // the same, and to change it
	Metrics Scope = "metrics" // /metrics alone, for Prometheus
)

// A Token is what is kept of one: not the secret, only its hash.
type Token struct {
	Name    string    `json:"name"`
	Scope   Scope     `json:"scope"`
	Made    time.Time `json:"made"`
	Expires time.Time `json:"expires,omitzero"` // zero: never
	SHA256  string    `json:"sha256"`           // of the secret
}

// Tokens is the file that keeps them. It is read at each question, so a token
// that is revoked is refused from then on.
type Tokens string

var tokenName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._@-]{0,62}$`)

// prefix makes a secret easy to find where it should not be.
const prefix = "swarmboot_"

// Validate tells what no token can be. A lifetime of zero is for ever.
func Validate(name string, scope Scope, lifetime time.Duration) error {
	switch {
	case !tokenName.MatchString(name):
		return fmt.Errorf("token name %q: want letters, digits, '.', '_', '@' and '-', 63 at most", name)
	case scope != Read && scope != Write && scope != Metrics:
		return fmt.Errorf("scope %q: want %s, %s or %s", scope, Read, Write, Metrics)
	case lifetime < 0:
		return fmt.Errorf("a token cannot expire %v ago", -lifetime)
	}
	return nil
}

// New makes a token that is valid and returns its secret, which nobody can ask for
// again.
func (t Tokens) New(name string, scope Scope, lifetime time.Duration) (secret string, err error) {
	if err := Validate(name, scope, lifetime); err != nil {
		return "", err
	}
	secret = prefix + rand.Text() + rand.Text()
	token := Token{Name: name, Scope: scope, Made: time.Now().UTC().Truncate(time.Second), SHA256: hash(secret)}
	if lifetime > 0 {
		token.Expires = token.Made.Add(lifetime)
	}
	err = t.change(func(all []Token) ([]Token, error) {
		if slices.ContainsFunc(all, func(other Token) bool { return other.Name == name }) {
			return nil, fmt.Errorf("there is a token %s already; revoke it first, or choose another name", name)
		}
		return append(all, token), nil
	})
	return secret, err
}

// Revoke ends a token.
func (t Tokens) Revoke(name string) error {
	return t.change(func(all []Token) ([]Token, error) {
		left := slices.DeleteFunc(slices.Clone(all), func(token Token) bool { return token.Name == name })
		if len(left) == len(all) {
			return nil, fmt.Errorf("there is no token %s; 'swarmboot token list' lists them", name)
		}
		return left, nil
	})
}

// List reads all tokens, in the order in which they were made.
func (t Tokens) List() ([]Token, error) {
	data, err := os.ReadFile(string(t))
	if errors.Is(err, fs.ErrNotExist) {
		return []Token{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read tokens: %w", err)
	}
	all := []Token{}
	if err := json.Unmarshal(data, &all); err != nil {
		return nil, fmt.Errorf("tokens %s: %w", string(t), err)
	}
	return all, nil
}

// find is the token that match tells, unless it has expired.
func (t Tokens) find(match func(Token) bool, now time.Time) (Token, bool, error) {
	all, err := t.List()
	if err != nil {
		return Token{}, false, err
	}
	i := slices.IndexFunc(all, match)
	if i < 0 || !all[i].Expires.IsZero() && now.After(all[i].Expires) {
		return Token{}, false, nil
	}
	return all[i], true, nil
}

// hash needs no salt and no slowness: a secret has 260 random bits.
func hash(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// change replaces the file as a whole. A lock keeps other commands out.
func (t Tokens) change(edit func([]Token) ([]Token, error)) error {
	if err := os.MkdirAll(filepath.Dir(string(t)), 0o700); err != nil {
		return fmt.Errorf("tokens: %w", err)
	}
	lock, err := os.OpenFile(string(t)+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("tokens: %w", err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("lock tokens: %w", err)
	}
	all, err := t.List()
	if err != nil {
		return err
	}
	if all, err = edit(all); err != nil {
		return err
	}
	data, err := json.MarshalIndent(all, "", " ")
	if err != nil {
		return fmt.Errorf("tokens: %w", err)
	}
	if err := wholefile.Write(string(t), append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("write tokens: %w", err)
	}
	return nil
}
