package journal

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"
)

// audit hands on what is marked audit=true, which is how changes, logins and
// refusals are logged.
type audit struct {
	slog.Handler
	marked bool
}

// Audit appends records that are marked audit=true to file, one JSON object in
// each line. It is opened for each, as such records are few: so the file may be
// moved away at any time, and several programs may write it.
func Audit(file string) slog.Handler {
	return audit{Handler: slog.NewJSONHandler(appender(file), &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && a.Key == "audit" {
			return slog.Attr{}
		}
		return a
	}})}
}

func (a audit) Handle(ctx context.Context, r slog.Record) error {
	marked := a.marked
	r.Attrs(func(attr slog.Attr) bool {
		marked = marked || isMark(attr)
		return !marked
	})
	if !marked {
		return nil
	}
	return a.Handler.Handle(ctx, r)
}

func (a audit) WithAttrs(attrs []slog.Attr) slog.Handler {
	marked := a.marked
	for _, attr := range attrs {
		marked = marked || isMark(attr)
	}
	return audit{a.Handler.WithAttrs(attrs), marked}
}

func (a audit) WithGroup(name string) slog.Handler { return audit{a.Handler.WithGroup(name), a.marked} }

func isMark(a slog.Attr) bool {
	return a.Key == "audit" && a.Value.Kind() == slog.KindBool && a.Value.Bool()
}

// appender is the path of a file that each Write opens, appends to and closes.
type appender string

func (a appender) Write(data []byte) (int, error) {
	if err := os.MkdirAll(filepath.Dir(string(a)), 0o755); err != nil {
		return 0, fmt.Errorf("audit log: %w", err)
	}
	f, err := os.OpenFile(string(a), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, fmt.Errorf("audit log: %w", err)
	}
	n, err := f.Write(data)
	return n, errors.Join(err, f.Close())
}

// An Entry is a line of the audit log, for people.
type Entry struct {
	Time  time.Time
	Admin string // the name of the token, or the user
	Peer  string // where the request came from
	Text  string // what happened, and what it was about as key=value
}

// ReadAudit reads the audit log in file, the oldest entry first. There may be none
// yet.
func ReadAudit(file string) (all []Entry, err error) {
	var log bytes.Buffer
	if err := CopyAudit(&log, file); err != nil {
		return nil, err
	}
	for line := range bytes.Lines(log.Bytes()) {
		all = append(all, entry(line))
	}
	return all, nil
}

// entry reads one line. One that was cut off, as by a full disk, stands as it is.
func entry(line []byte) (e Entry) {
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.Token() // {
	for dec.More() {
		key, err := dec.Token()
		var value json.RawMessage
		if err != nil || dec.Decode(&value) != nil {
			return Entry{Text: string(line)}
		}
		text := string(value)
		json.Unmarshal(value, &text) // or it is no text, and stays as it is
		switch key {
		case "time":
			e.Time, _ = time.Parse(time.RFC3339Nano, text)
		case "level":
		case "admin":
			e.Admin = text
		case "peer":
			e.Peer = text
		case "msg":
			e.Text = text + e.Text
		default:
			e.Text += fmt.Sprintf(" %v=%s", key, text)
		}
	}
	return e
}

// CopyAudit writes the audit log in file to w, as it is. There may be none yet.
func CopyAudit(w io.Writer, file string) error {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("audit log: %w", err)
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}
