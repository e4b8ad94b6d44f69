package settings

import (
	"fmt"
	"os"
	"strings"
)

// Check tells the mistakes in data as Load would.
func Check(path string, data []byte, offered Offered) error {
	_, err := parse(path, data, offered)
	return err
}

// Begun tells whether the settings file at path names a network: one that was
// only installed does not.
func Begun(path string) (bool, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return false, fmt.Errorf("read settings: %w", err)
	}
	var file File
	newDecoder(path).document(data, &file)
	return len(file.Networks) > 0, nil
}

// Replace puts data in the place of the settings file at path, as Adopt does.
func Replace(path string, data []byte, offered Offered) error {
	if err := Check(path, data, offered); err != nil {
		return err
	}
	return replace(path, data)
}

// Quote makes text one value of a settings file, whatever is in it.
func Quote(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }
