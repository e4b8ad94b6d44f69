package swarm

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
)

// A peer id (BEP 3) begins with the program and its version. Ours goes on with
// four bytes that stand for the rack, so that a machine knows near peers from
// far ones when it shakes hands; the rest is chance.
const (
	program = "-SB0001-"
	rackEnd = len(program) + 4
)

// newPeerID is a peer id of a machine in a rack.
func newPeerID(rack string) (id [20]byte) {
	copy(id[:], program)
	sum := sha256.Sum256([]byte(rack))
	copy(id[len(program):rackEnd], sum[:])
	rand.Read(id[rackEnd:])
	return id
}

// inRack tells whether the owners of two peer ids stand in one rack. Other
// programs don't tell; they count as near.
func inRack(a, b [20]byte) bool {
	return !bytes.HasPrefix(a[:], []byte(program)) || !bytes.HasPrefix(b[:], []byte(program)) ||
		bytes.Equal(a[:rackEnd], b[:rackEnd])
}
