// Package wholefile writes files of which no reader, and no power cut, ever
// finds a half. bootserver and appliance keep their state by it.
package wholefile

import (
	"bytes"
	"io"
	"io/fs"

	"github.com/google/renameio/v2"
)

// Write makes data the content of the file at path, which gets the mode whatever
// the umask is. Until it is on the disk as a whole, the path has what it had.
func Write(path string, data []byte, mode fs.FileMode) error {
	return Copy(path, bytes.NewReader(data), mode)
}

// Copy is Write for content that is larger than what should be in memory.
func Copy(path string, from io.Reader, mode fs.FileMode) error {
	f, err := renameio.NewPendingFile(path, renameio.WithStaticPermissions(mode))
	if err != nil {
		return err
	}
	defer f.Cleanup() // of no effect after a success
	// What is written at once the page cache keeps at once, if the file system lets it
	// (large folios): sending it then takes a tenth less time of the processor. f is
	// hidden, as its ReadFrom has a small buffer of its own.
	if _, err := io.CopyBuffer(struct{ io.Writer }{f}, from, make([]byte, 256<<10)); err != nil {
		return err
	}
	return f.CloseAtomicallyReplace()
}
