// Package origin brings images from a store that several boot servers share, and
// into it: a bucket of any S3-compatible object store (s3.go), or a folder on a
// web server, which can only be read (http.go).
//
// A store is laid out as a catalogue's folder is, so a copy of that folder on a
// web server is one. Nothing in it is believed: a pulled image must be signed by
// a key that the catalogue trusts, and each byte is compared with its manifest.
// What is broken off goes on where it was (fetch.go).
//
// Pull and Push (transfer.go) are the command line's; bootserver pulls what its
// machines are to boot and its catalogue lacks.
package origin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"
)

// ErrReadOnly says that a store takes nothing.
var ErrReadOnly = errors.New("a web server takes no images; push to an S3 bucket, or copy the folder of images there")

// Config says where the store is.
type Config struct {
	URL         string        // https://HOST/PATH or s3:https://HOST/BUCKET/PATH; http too. Empty: there is none
	Credentials string        // file of S3 keys, as AWS's tools write it; empty: the environment's
	Poll        time.Duration // how often a boot server asks where the store's tags stand
}

// MinPoll spares a store that many servers share.
const MinPoll = 10 * time.Second

// Store is one store of images.
type Store struct {
	url   string // without a password
	files files
	pause time.Duration // before the first repetition
}

// files is a kind of store. An error that a repetition does not mend is a
// refusal.
type files interface {
	// get reads the file called name from an offset on: fs.ErrNotExist.
	get(ctx context.Context, name string, offset int64) (io.ReadCloser, error)
}

// writable is a kind of store that takes files too.
type writable interface {
	files
	// size tells how many bytes the file called name has: fs.ErrNotExist.
	size(ctx context.Context, name string) (int64, error)
	// put makes the file, or makes it anew.
	put(ctx context.Context, name string, r io.Reader, size int64) error
}

// refusal is an error that is the same next time.
type refusal struct{ error }

func (r refusal) Unwrap() error { return r.error }

// Open checks the config. It connects to nothing.
func Open(c Config) (*Store, error) {
	u, s3, err := c.parse()
	if err != nil {
		return nil, err
	}
	s := &Store{url: strings.TrimSuffix(u.Redacted(), "/"), pause: firstPause}
	if !s3 {
		s.files = web{base: u}
		return s, nil
	}
	s.url = s3Prefix + s.url
	if s.files, err = openBucket(u, c.Credentials); err != nil {
		return nil, err
	}
	return s, nil
}

// String is the store's URL.
func (s *Store) String() string { return s.url }

const s3Prefix = "s3:"

// Validate tells what is wrong with the config.
func (c Config) Validate() error {
	_, _, err := c.parse()
	return err
}

func (c Config) parse() (u *url.URL, s3 bool, err error) {
	text, s3 := strings.CutPrefix(c.URL, s3Prefix)
	u, err = url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" || u.Fragment != "":
		return nil, false, fmt.Errorf("%q is no store; want https://HOST/PATH for a web server, or s3:https://HOST/BUCKET for an S3 bucket", c.URL)
	case s3 && strings.Trim(u.Path, "/") == "":
		return nil, false, fmt.Errorf("%q names no bucket; want s3:https://HOST/BUCKET", c.URL)
	case s3 && u.User != nil:
		return nil, false, fmt.Errorf("%q has a password in it; S3 keys belong into a credentials file", u.Redacted())
	case !s3 && c.Credentials != "":
		return nil, false, errors.New("credentials are for S3 buckets (s3:https://HOST/BUCKET); a web server is read without")
	}
	return u, s3, nil
}
