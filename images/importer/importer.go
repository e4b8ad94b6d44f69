// Package importer puts root file systems that others have made into a folder:
// container images (oci.go), archives (tar.go), disk images (disk.go), and
// folders and squashfs files (copy.go).
//
// Nothing of a file is lost on the way: owner, mode, times, extended attributes
// and with them capabilities, hard links, device nodes and holes; but of the POSIX
// ACLs in an archive, whose users only another computer knows, the caller is told.
// Package tree is how the tests compare. What comes from strangers cannot write
// outside of the folder: archives are unpacked below an os.Root (untar.go).
//
// builder is its caller; it makes the folder a root that boots.
package importer

import (
	"context"
	"log/slog"
)

// A Job is one import.
type Job struct {
	Place string // where the source is: a path or the reference of a container image
	Root  string // folder to fill; it is empty
	Work  string // folder for what is needed on the way; the caller removes it
	Arch  string // GOARCH wanted of a container image

	Log      *slog.Logger
	Progress func(done, total int64) // bytes; total is 0 where it isn't known
	LostACLs func(names []string)    // is told which files of an archive had POSIX ACLs
}

// An Importer fills a folder from one kind of source.
type Importer func(context.Context, Job) error
