// Package ctxio ends reads that nobody waits for any more.
//
// catalogue, importer and builder are its callers: each reads files of gigabytes.
package ctxio

import (
	"context"
	"io"
)

// NewReader returns a reader of r that fails once ctx is done, with its cause. A
// read that has begun goes on.
func NewReader(ctx context.Context, r io.Reader) io.Reader { return reader{ctx, r} }

type reader struct {
	ctx context.Context
	r   io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if err := context.Cause(r.ctx); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
