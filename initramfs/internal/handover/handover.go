// Package handover gives the machine to the image: it makes a root file system
// out of the mounted image and executes the image's own init in it.
//
// The order is Mount (mount.go), Furnish (furnish.go), Switch (switch.go).
// init is the only caller.
//
// The initramfs itself stays: peerd, which serves the image, lives in it.
package handover

// dir holds our mount points in the initramfs.
const dir = "/swarmboot"

// A Root is the new root file system while it is being made.
type Root struct {
	path    string   // where it stands in the initramfs
	mounted []string // mount points, in the order in which they were mounted
}
