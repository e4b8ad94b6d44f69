package stage

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Path is where the boot server takes reports by POST.
const Path = "/report"

// Client sends reports to the boot server.
type Client struct {
	Server string // base URL, such as http://10.77.0.1
	HTTP   *http.Client
}

// NewClient returns a client that gives up on one report after five seconds.
func NewClient(server string) *Client {
	return &Client{Server: server, HTTP: &http.Client{Timeout: 5 * time.Second}}
}

// Send delivers r once; whoever wants a retry calls it again.
func (c *Client) Send(ctx context.Context, r Report) error {
	data, err := r.Encode()
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.Server+Path, bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("report %s: %w", r.Stage, err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.HTTP.Do(req)
	if err != nil {
		return fmt.Errorf("report %s: %w", r.Stage, err)
	}
	defer resp.Body.Close()
	reason, _ := io.ReadAll(io.LimitReader(resp.Body, 512))
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("report %s: server answered %s: %s", r.Stage, resp.Status, bytes.TrimSpace(reason))
	}
	return nil
}
