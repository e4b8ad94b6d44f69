// Package wholefile writes files of which no reader, and no power cut, ever
// finds a half. bootserver and appliance keep their state by it.
package wholefile

import (
	"io/fs"

	"github.com/google/renameio/v2"
)

// Write makes data the content of the file at path, which gets the mode whatever
// the umask is. Until it is on the disk as a whole, the path has what it had.
func Write(path string, data []byte, mode fs.FileMode) error {
	return renameio.WriteFile(path, data, mode, renameio.WithStaticPermissions(mode))
}
