package origin

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
)

// web is a folder on a web server.
type web struct{ base *url.URL }

func (w web) get(ctx context.Context, name string, offset int64) (io.ReadCloser, error) {
	resp, err := w.ask(ctx, name, offset)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusOK && offset > 0 { // it knows no ranges
		return &skipping{resp.Body, offset}, nil
	}
	return resp.Body, nil
}

// skipping leaves out the first bytes, as they come: whoever reads sees that the
// transfer lives.
type skipping struct {
	io.ReadCloser
	left int64
}

func (s *skipping) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	skip := int(min(s.left, int64(n)))
	s.left -= int64(skip)
	return copy(p, p[skip:n]), err
}

// ask makes a request for what begins at offset and judges the answer.
func (w web) ask(ctx context.Context, name string, offset int64) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.base.JoinPath(name).String(), nil)
	if err != nil {
		return nil, refusal{err}
	}
	if offset > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	switch {
	case resp.StatusCode == http.StatusOK:
		return resp, nil
	case resp.StatusCode == http.StatusPartialContent && strings.HasPrefix(resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", offset)):
		return resp, nil
	}
	resp.Body.Close()
	return nil, judge(resp.StatusCode, fmt.Errorf("%s answered %s", w.base.JoinPath(name).Redacted(), resp.Status))
}

// judge tells what is missing and what is refused from what may pass.
func judge(status int, err error) error {
	switch {
	case status == http.StatusNotFound:
		return fmt.Errorf("%w (%w)", err, fs.ErrNotExist)
	case status == http.StatusRequestTimeout, status == http.StatusTooManyRequests, status < 400, status >= 500:
		return err
	}
	return refusal{err}
}
