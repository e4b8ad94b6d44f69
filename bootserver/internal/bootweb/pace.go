package bootweb

import (
	"io"
	"math"
	"net/http"
	"time"
)

// A machine may be slow, but not stand still: each chunk of a response has the
// patience as its time. 17 kB/s are enough. A chunk is what one sendfile of package
// net takes at most; each costs some 5 µs besides the kernel's work.
const (
	chunk    = 4 << 20
	patience = 4 * time.Minute
)

// paced gives every response of next a deadline that moves with its progress.
func paced(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := &pacer{ResponseWriter: w, control: http.NewResponseController(w)}
		p.extend()
		next.ServeHTTP(p, r)
	})
}

// pacer also counts. It is an io.ReaderFrom so that files still go by sendfile;
// without that they cost 2.5 times the CPU time.
type pacer struct {
	http.ResponseWriter
	control *http.ResponseController
	count   int64
}

// Unwrap is for http.ResponseController.
func (p *pacer) Unwrap() http.ResponseWriter { return p.ResponseWriter }

func (p *pacer) extend() {
	// Not every writer of a test has deadlines.
	_ = p.control.SetWriteDeadline(time.Now().Add(patience))
}

func (p *pacer) Write(b []byte) (int, error) {
	p.extend()
	n, err := p.ResponseWriter.Write(b)
	p.count += int64(n)
	return n, err
}

// ReadFrom copies in chunks. The file must reach the writer below inside one
// io.LimitedReader, and no more than one: that is what sendfile looks for.
func (p *pacer) ReadFrom(src io.Reader) (total int64, err error) {
	limited, ok := src.(*io.LimitedReader)
	if !ok {
		limited = &io.LimitedReader{R: src, N: math.MaxInt64}
	}
	for limited.N > 0 {
		p.extend()
		want := min(limited.N, chunk)
		n, err := io.Copy(p.ResponseWriter, &io.LimitedReader{R: limited.R, N: want})
		limited.N -= n
		p.count += n
		total += n
		if err != nil || n < want {
			return total, err
		}
	}
	return total, nil
}

// sent is what has been written as the body of a response.
func sent(w http.ResponseWriter) int64 {
	if p, ok := w.(*pacer); ok {
		return p.count
	}
	return 0
}
