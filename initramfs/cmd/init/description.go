package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"swarmboot/initramfs/bootargs"
	"swarmboot/initramfs/envelope"
)

// describe fetches the boot description, verifies it and leaves it for peerd.
func (b *boot) describe(ctx context.Context, keys []envelope.PublicKey) (bootargs.Description, error) {
	url := b.args.Server + bootargs.DescriptionPath(b.args.MAC)
	sealed, err := fetch(ctx, url, bootargs.MaxDescription)
	if err != nil {
		return bootargs.Description{}, fmt.Errorf("boot description: %w", err)
	}
	d, err := bootargs.OpenDescription(keys, b.args.MAC, sealed)
	if err != nil {
		return bootargs.Description{}, fmt.Errorf("%s: %w", url, err)
	}
	payload, err := json.Marshal(d)
	if err != nil {
		return bootargs.Description{}, fmt.Errorf("boot description: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(descriptionFile), 0o755); err != nil {
		return bootargs.Description{}, fmt.Errorf("keep boot description: %w", err)
	}
	if err := os.WriteFile(descriptionFile, payload, 0o600); err != nil {
		return bootargs.Description{}, fmt.Errorf("keep boot description: %w", err)
	}
	b.boots(d, b.args.Server)
	return d, nil
}

const fetchTimeout = time.Minute

// fetch gets what is at url, max bytes at most.
func fetch(ctx context.Context, url string, max int64) ([]byte, error) {
	data, _, err := exchange(ctx, http.MethodGet, url, nil, max)
	return data, err
}

// exchange makes a request. The status is that of an answer which is not 200,
// and an error too.
func exchange(ctx context.Context, method, url string, body io.Reader, max int64) (data []byte, status int, err error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return nil, 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, 0, err
	}
	defer resp.Body.Close()
	data, err = io.ReadAll(io.LimitReader(resp.Body, max+1))
	switch {
	case err != nil:
		return nil, 0, fmt.Errorf("%s %s: %w", method, url, err)
	case resp.StatusCode != http.StatusOK:
		return nil, resp.StatusCode, fmt.Errorf("%s %s: the server answered %s: %.512q", method, url, resp.Status, data)
	case int64(len(data)) > max:
		return nil, 0, fmt.Errorf("%s %s: more than %d bytes", method, url, max)
	}
	return data, resp.StatusCode, nil
}
