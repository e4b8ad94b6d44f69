package identities

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"strconv"
	"strings"
	"time"
)

// A token is that of one boot.
type token struct {
	word  string // empty: no script of this boot has been sent
	seed  string // opens the data for cloud-init until the machine is ready
	spent bool
}

// tokenLife is how long a token is good after a restart of the server: longer
// than any boot takes from its script to our init.
const tokenLife = time.Hour

// newWord makes a token for mac: when it was made, what no other has, and what
// only a server with our secret can make of these.
func (s *Store) newWord(mac string, now time.Time) string {
	word := strconv.FormatInt(now.Unix(), 36) + "." + rand.Text()
	return word + "." + s.sign(mac, word)
}

func (s *Store) sign(mac, word string) string {
	h := hmac.New(sha256.New, s.secret)
	h.Write([]byte(mac + " " + word))
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// made tells whether a server with our secret has made word for mac not long ago.
func (s *Store) made(mac, word string, now time.Time) bool {
	at := strings.LastIndexByte(word, '.')
	if at < 0 || !hmac.Equal([]byte(word[at+1:]), []byte(s.sign(mac, word[:at]))) {
		return false
	}
	begun, _, _ := strings.Cut(word, ".")
	seconds, err := strconv.ParseInt(begun, 36, 64)
	return err == nil && now.Sub(time.Unix(seconds, 0)) < tokenLife
}

// Begin forgets the token of the boot before.
func (s *Store) Begin(mac string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens[mac] = &token{}
}

// Token is that of the boot which mac is in; empty when it is spent.
func (s *Store) Token(mac string) (word, seed string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tokens[mac]
	if t == nil || t.word == "" {
		t = &token{word: s.newWord(mac, time.Now()), seed: rand.Text()}
		s.tokens[mac] = t
	}
	if t.spent {
		return "", ""
	}
	return t.word, t.seed
}

// Spend tells whether word is the token of mac's boot, which it is once. Of a
// machine that it has not heard of since a restart, the server takes a token that
// it has given before.
func (s *Store) Spend(mac, word string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, known := s.tokens[mac]
	if !known {
		if !s.made(mac, word, time.Now()) {
			return false
		}
		t = &token{word: word}
		s.tokens[mac] = t
	}
	if t.spent || t.word == "" || subtle.ConstantTimeCompare([]byte(t.word), []byte(word)) == 0 {
		return false
	}
	t.spent = true
	return true
}

// Seeded is the machine whose data for cloud-init seed opens.
func (s *Store) Seeded(seed string) (mac string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for mac, t := range s.tokens {
		if t.seed != "" && subtle.ConstantTimeCompare([]byte(t.seed), []byte(seed)) == 1 {
			return mac, true
		}
	}
	return "", false
}

// Ready ends what cloud-init may fetch: a system that has reached its login has
// done so.
func (s *Store) Ready(mac string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.tokens[mac]; t != nil {
		t.seed = ""
	}
}
