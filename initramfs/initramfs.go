// Package initramfs makes the archives that a machine's kernel unpacks before
// anything else runs.
//
// Build makes the common one: PID 1 (cmd/init), peerd and the few commands of a
// rescue shell, all in one program, built by u-root from this module. KeySegment
// makes the small one with the keys that a machine trusts. The kernel unpacks
// them one after the other, then the image's own archive of modules.
//
// cmd/mkinitramfs calls Build when a release is made; bootserver calls
// KeySegment and needs no Go toolchain for it.
package initramfs

import (
	"fmt"

	"swarmboot/initramfs/envelope"
	"swarmboot/initramfs/segment"
)

// newc is the one cpio format that Linux unpacks.
const newc = "newc"

// keysDir is where init looks for the keys.
const keysDir = "etc/swarmboot/keys"

// Align is segment.Align, for those who append segments.
const Align = segment.Align

// KeySegment is an uncompressed cpio archive with the keys. It is to be placed
// at a multiple of Align, and its length is one.
func KeySegment(keys []envelope.PublicKey) ([]byte, error) {
	files := map[string]string{}
	for _, key := range keys {
		pem, err := key.MarshalPEM()
		if err != nil {
			return nil, fmt.Errorf("key %s: %w", key.ID(), err)
		}
		files[keysDir+"/"+key.ID()+".pem"] = string(pem)
	}
	data, err := segment.Make(files, 0o444)
	if err != nil {
		return nil, fmt.Errorf("key segment: %w", err)
	}
	return data, nil
}
