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
	"bytes"
	"fmt"
	"slices"

	"github.com/u-root/mkuimage/cpio"

	"swarmboot/initramfs/envelope"
)

// newc is the one cpio format that Linux unpacks.
const newc = "newc"

// keysDir is where init looks for the keys.
const keysDir = "etc/swarmboot/keys"

// Align is what the start of an uncompressed segment must be a multiple of,
// counted from the start of all that the loader hands to the kernel. Zero bytes
// fill the gap.
const Align = 4

// KeySegment is an uncompressed cpio archive with the keys. It is to be placed
// at a multiple of Align, and its length is one.
func KeySegment(keys []envelope.PublicKey) ([]byte, error) {
	records := []cpio.Record{cpio.Directory("etc", 0o755), cpio.Directory("etc/swarmboot", 0o755), cpio.Directory(keysDir, 0o755)}
	for i, key := range keys {
		if slices.ContainsFunc(keys[:i], func(k envelope.PublicKey) bool { return k.ID() == key.ID() }) {
			continue
		}
		pem, err := key.MarshalPEM()
		if err != nil {
			return nil, fmt.Errorf("key %s: %w", key.ID(), err)
		}
		records = append(records, cpio.StaticFile(keysDir+"/"+key.ID()+".pem", string(pem), 0o444))
	}
	format, err := cpio.Format(newc)
	if err != nil {
		return nil, fmt.Errorf("key segment: %w", err)
	}
	var segment bytes.Buffer
	w := format.Writer(&segment)
	if err := cpio.WriteRecords(w, records); err != nil {
		return nil, fmt.Errorf("key segment: %w", err)
	}
	if err := cpio.WriteTrailer(w); err != nil {
		return nil, fmt.Errorf("key segment: %w", err)
	}
	return pad(segment.Bytes()), nil
}

// pad appends zero bytes up to a multiple of Align.
func pad(data []byte) []byte {
	return append(data, make([]byte, -len(data)&(Align-1))...)
}
