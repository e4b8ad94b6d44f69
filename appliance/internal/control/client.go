package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"syscall"
	"time"

	"swarmboot/bootserver"
)

// A Client asks the boot server behind one socket.
type Client struct {
	socket string
	http   *http.Client
}

// NewClient returns a client for socket. It connects with each question, so
// that the server may be started later, or again.
func NewClient(socket string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}
	return &Client{socket, &http.Client{
		Timeout:   5 * time.Second,
		Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true},
	}}
}

// Config tells which settings are in force.
func (c *Client) Config(ctx context.Context) (config Config, err error) {
	err = c.get(ctx, configPath, &config)
	return config, err
}

// Networks tells which networks are served.
func (c *Client) Networks(ctx context.Context) (list []bootserver.NetworkStatus, err error) {
	err = c.get(ctx, networksPath, &list)
	return list, err
}

// Machines tells how far each machine is.
func (c *Client) Machines(ctx context.Context) (list []bootserver.MachineStatus, err error) {
	err = c.get(ctx, machinesPath, &list)
	return list, err
}

// InForce is the whole config in force.
func (c *Client) InForce(ctx context.Context) (config bootserver.Config, err error) {
	err = c.get(ctx, inForcePath, &config)
	return config, err
}

// Strangers tells which machines asked for a boot and are not listed.
func (c *Client) Strangers(ctx context.Context) (list []bootserver.Stranger, err error) {
	err = c.get(ctx, unknownPath, &list)
	return list, err
}

// Swarms tells what each image has cost the server.
func (c *Client) Swarms(ctx context.Context) (list []bootserver.SwarmStatus, err error) {
	err = c.get(ctx, swarmsPath, &list)
	return list, err
}

func (c *Client) get(ctx context.Context, path string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://swarmboot"+path, nil)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("no boot server answers at %s; start one with 'swarmboot serve', or name its state folder with --state", c.socket)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("ask the boot server at %s: permission denied; only its own user may, usually root", c.socket)
	case err != nil:
		return fmt.Errorf("ask the boot server at %s: %w", c.socket, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		reason, _ := io.ReadAll(io.LimitReader(resp.Body, 512))
		return fmt.Errorf("ask the boot server for %s: it answered %s: %s", path, resp.Status, reason)
	}
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return fmt.Errorf("answer of the boot server to %s: %w", path, err)
	}
	return nil
}
