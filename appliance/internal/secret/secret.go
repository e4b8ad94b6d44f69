// Package secret reads files that hold a secret, and refuses those that anybody
// may read. Package webhook and package power call it.
package secret

import (
	"fmt"
	"os"
	"strings"
)

// Read gives what is in file, without the spaces and line ends around it.
func Read(file string) (string, error) {
	info, err := os.Stat(file)
	if err != nil {
		return "", fmt.Errorf("secret: %w", err)
	}
	if info.Mode().Perm()&0o007 != 0 {
		return "", fmt.Errorf("secret: everybody may read %s; chmod 640 mends it", file)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("secret: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}
