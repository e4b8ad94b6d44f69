package bootserver

import (
	"fmt"
	"os"
	"path/filepath"

	"swarmboot/images"
	"swarmboot/initramfs"
	"swarmboot/initramfs/envelope"
)

// composeInitramfs appends the keys that machines trust to the common archive,
// writes that to a file in the state folder, so that it can go by sendfile, and
// returns the file's name and SHA-256.
func composeInitramfs(common, state string, trusted []envelope.PublicKey) (name, digest string, err error) {
	data, err := os.ReadFile(common)
	if err != nil {
		return "", "", fmt.Errorf("initramfs: %w; build it with initramfs/cmd/mkinitramfs", err)
	}
	keys, err := initramfs.KeySegment(trusted)
	if err != nil {
		return "", "", fmt.Errorf("initramfs: %w", err)
	}
	// The kernel finds the next archive only at a multiple of Align.
	data = append(data, make([]byte, -len(data)&(initramfs.Align-1))...)
	data = append(data, keys...)
	name = filepath.Join(state, "initramfs")
	if err := writeFile(name, data); err != nil {
		return "", "", fmt.Errorf("initramfs: %w", err)
	}
	return name, images.Digest(data), nil
}
