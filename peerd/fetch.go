package peerd

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"swarmboot/images"
)

// slowest is the rate in bytes a second below which a fetch is given up, so
// that the next one may find a better way.
const slowest = 64 << 10

// fetcher asks the boot server for pieces over plain HTTP. What it brings is not
// verified.
type fetcher struct {
	url    string
	pieces images.Pieces
	client *http.Client
}

func newFetcher(url string, pieces images.Pieces) *fetcher {
	dialer := &net.Dialer{Timeout: 3 * time.Second}
	return &fetcher{url: url, pieces: pieces, client: &http.Client{
		// Not the default transport: it obeys proxy settings of the environment.
		Transport: &http.Transport{
			DialContext:           dialer.DialContext,
			ResponseHeaderTimeout: 5 * time.Second,
			MaxIdleConnsPerHost:   maxFetches,
			IdleConnTimeout:       30 * time.Second,
		},
	}}
}

// fetch gets one piece by a range request.
func (f *fetcher) fetch(ctx context.Context, piece int) ([]byte, error) {
	first, n := f.pieces.Offset(piece), f.pieces.Len(piece)
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second+time.Duration(n/slowest)*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.url, nil)
	if err != nil {
		return nil, fmt.Errorf("fetch piece %d: %w", piece, err)
	}
	req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", first, first+int64(n)-1))
	resp, err := f.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("fetch piece %d: %w", piece, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusPartialContent {
		return nil, fmt.Errorf("fetch piece %d: GET %s answered %s to a range request", piece, f.url, resp.Status)
	}
	data := make([]byte, n)
	if _, err := io.ReadFull(resp.Body, data); err != nil {
		return nil, fmt.Errorf("fetch piece %d: %w", piece, err)
	}
	return data, nil
}
