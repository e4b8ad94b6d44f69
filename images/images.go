// Package images holds the nouns that every part of Swarmboot shares: an image
// is named by a Ref, described by a signed Manifest, and its root file comes in
// Pieces.
//
// builder makes images, catalogue keeps them, bootserver offers them and peerd
// fetches and checks them.
package images

import (
	"fmt"
	"regexp"
	"strings"
)

// A Ref names one version of an image, written name@version. A tag, which stands
// for one version now and for another later, is written like one: name@tag.
type Ref struct{ Name, Version string }

var word = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)

// ParseRef reads name@version. Both are lower-case letters, digits, dots,
// dashes and underscores, 63 at most, and begin with a letter or digit.
func ParseRef(s string) (Ref, error) {
	name, version, found := strings.Cut(s, "@")
	if !found {
		return Ref{}, fmt.Errorf("image %q: want name@version", s)
	}
	r := Ref{name, version}
	if !word.MatchString(name) || !word.MatchString(version) {
		return Ref{}, fmt.Errorf("image %q: name and version are lower-case letters, digits, '.', '_' and '-'", s)
	}
	return r, nil
}

// String is name@version.
func (r Ref) String() string { return r.Name + "@" + r.Version }

// MarshalText is String: in JSON logs too an image is one word.
func (r Ref) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads what MarshalText has written; no text is the zero Ref.
func (r *Ref) UnmarshalText(text []byte) (err error) {
	if s := string(text); s != (Ref{}).String() && s != "" {
		*r, err = ParseRef(s)
	}
	return err
}

// IsZero tells whether r names nothing.
func (r Ref) IsZero() bool { return r == Ref{} }
