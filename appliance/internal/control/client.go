package control

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"swarmboot/appliance/internal/api"
	"swarmboot/appliance/internal/journal"
	"swarmboot/appliance/internal/settings"
	"swarmboot/bootserver"
	"swarmboot/bootserver/fleet"
	"swarmboot/bootserver/mirror"
	"swarmboot/images"
)

var (
	// ErrUnreachable says that no boot server has answered.
	ErrUnreachable = errors.New("no boot server answers")
	// ErrRefused says that the boot server wants another token, or another user.
	ErrRefused = errors.New("the boot server refuses")
)

// A failure has words of its own, and is of a kind that callers branch on.
type failure struct {
	kind error
	text string
}

func (f failure) Error() string { return f.text }
func (f failure) Unwrap() error { return f.kind }

// patience is how long one question may take.
const patience = 10 * time.Second

// controllerPatience is how long one question may take that the server asks a
// machine's management controller, for which it has a limit of its own.
const controllerPatience = time.Minute

// A Client asks one boot server.
type Client struct {
	at     string // socket or URL
	base   string // of all paths
	remedy string // where nobody answers
	token  string
	http   *http.Client
}

// NewClient returns a client for the server behind socket. It connects with each
// question, so that the server may be started later, or again.
func NewClient(socket string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}
	return &Client{
		at: socket, base: "http://swarmboot",
		remedy: "start one with 'swarmboot serve', or name its state folder with --state, or the URL of its pages with --server",
		http:   &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}},
	}
}

// Remote says how to reach a server on another computer.
type Remote struct {
	URL         string // of its admin pages
	Token       string // made there by 'swarmboot token new'
	Fingerprint string // SHA-256 of its certificate in hex; empty: one that this computer trusts
}

// NewRemote returns a client for a server elsewhere.
func NewRemote(r Remote) (*Client, error) {
	u, err := url.Parse(r.URL)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, fmt.Errorf("server %q: want a URL such as https://boot.example.org:8470", r.URL)
	}
	if ip := net.ParseIP(u.Hostname()); u.Scheme == "http" && r.Token != "" && u.Hostname() != "localhost" && !ip.IsLoopback() {
		return nil, fmt.Errorf("server %s: a token is not sent in the clear; use https", r.URL)
	}
	config, err := pinned(r.Fingerprint)
	if err != nil {
		return nil, err
	}
	return &Client{
		at: r.URL, base: strings.TrimSuffix(r.URL, "/"), token: r.Token,
		remedy: "is admin.listen of that server an address that this computer reaches?",
		http:   &http.Client{Transport: &http.Transport{TLSClientConfig: config, Proxy: http.ProxyFromEnvironment}},
	}, nil
}

// pinned trusts the certificate with that fingerprint alone, however it was
// signed.
func pinned(fingerprint string) (*tls.Config, error) {
	if fingerprint == "" {
		return &tls.Config{}, nil
	}
	want, err := hex.DecodeString(strings.ReplaceAll(fingerprint, ":", ""))
	if err != nil || len(want) != sha256.Size {
		return nil, fmt.Errorf("fingerprint %q: want the SHA-256 of a certificate, 64 hex digits; the server's log shows it", fingerprint)
	}
	return &tls.Config{
		InsecureSkipVerify: true, // instead of the chain, the certificate itself is compared
		VerifyConnection: func(s tls.ConnectionState) error {
			if got := sha256.Sum256(s.PeerCertificates[0].Raw); !bytes.Equal(got[:], want) {
				return fmt.Errorf("its certificate has the fingerprint %x", got)
			}
			return nil
		},
	}, nil
}

// Settings tells which settings are in force.
func (c *Client) Settings(ctx context.Context) (s api.Settings, err error) {
	err = c.get(ctx, api.Prefix+"/settings", &s)
	return s, err
}

// InForce are all settings in force. Only the socket tells them.
func (c *Client) InForce(ctx context.Context) (all settings.Complete, err error) {
	err = c.get(ctx, inForcePath, &all)
	return all, err
}

// Networks tells which networks are served.
func (c *Client) Networks(ctx context.Context) (list []bootserver.NetworkStatus, err error) {
	err = c.get(ctx, api.Prefix+"/networks", &list)
	return list, err
}

// Machines tells how far each machine is.
func (c *Client) Machines(ctx context.Context) (list []fleet.MachineStatus, err error) {
	err = c.get(ctx, api.Prefix+"/machines", &list)
	return list, err
}

// Machine tells all about one machine.
func (c *Client) Machine(ctx context.Context, mac string) (d fleet.MachineDetail, err error) {
	err = c.get(ctx, machinePath(mac), &d)
	return d, err
}

// Log gives the lines about one machine after line number last.
func (c *Client) Log(ctx context.Context, mac string, last uint64) (list []journal.Line, err error) {
	err = c.get(ctx, fmt.Sprintf("%s/log?after=%d", machinePath(mac), last), &list)
	return list, err
}

// Strangers tells which machines asked for a boot and are not listed.
func (c *Client) Strangers(ctx context.Context) (list []bootserver.Stranger, err error) {
	err = c.get(ctx, api.Prefix+"/strangers", &list)
	return list, err
}

// Swarms tells what each image has cost the server.
func (c *Client) Swarms(ctx context.Context) (list []bootserver.SwarmStatus, err error) {
	err = c.get(ctx, api.Prefix+"/swarms", &list)
	return list, err
}

// Origin tells which images are fetched.
func (c *Client) Origin(ctx context.Context) (status mirror.OriginStatus, err error) {
	err = c.get(ctx, api.Prefix+"/origin", &status)
	return status, err
}

// Adopt has a machine written into the server's settings file.
func (c *Client) Adopt(ctx context.Context, a api.Adoption) error {
	return c.ask(ctx, http.MethodPost, api.Prefix+"/machines", a, nil)
}

// Tag makes a tag stand for an image of the same name.
func (c *Client) Tag(ctx context.Context, tag images.Ref, version string) (moved api.Moved, err error) {
	err = c.ask(ctx, http.MethodPut, tagPath(tag), api.Target{Version: version}, &moved)
	return moved, err
}

// Untag takes a tag away.
func (c *Client) Untag(ctx context.Context, tag images.Ref) error {
	return c.ask(ctx, http.MethodDelete, tagPath(tag), nil, nil)
}

// Override has a machine boot an image in place of the settings'.
func (c *Client) Override(ctx context.Context, mac string, next api.Next) (o fleet.Override, err error) {
	err = c.ask(ctx, http.MethodPut, machinePath(mac)+"/override", next, &o)
	return o, err
}

// Rollback has a machine boot the image that it ran before.
func (c *Client) Rollback(ctx context.Context, mac string) (o fleet.Override, err error) {
	err = c.ask(ctx, http.MethodPost, machinePath(mac)+"/rollback", nil, &o)
	return o, err
}

// Release gives a machine back to the settings.
func (c *Client) Release(ctx context.Context, mac string) error {
	return c.ask(ctx, http.MethodDelete, machinePath(mac)+"/override", nil, nil)
}

func machinePath(mac string) string { return api.Prefix + "/machines/" + url.PathEscape(mac) }

func tagPath(tag images.Ref) string {
	return api.Prefix + "/images/" + url.PathEscape(tag.Name) + "/tags/" + url.PathEscape(tag.Version)
}

// Power asks whether a machine is switched on.
func (c *Client) Power(ctx context.Context, mac string) (p api.Power, err error) {
	err = c.askWithin(ctx, controllerPatience, http.MethodGet, powerPath(mac), nil, &p)
	return p, err
}

// Switch has a machine switched on or off.
func (c *Client) Switch(ctx context.Context, mac string, what api.Switching) error {
	return c.askWithin(ctx, controllerPatience, http.MethodPost, powerPath(mac), what, nil)
}

func powerPath(mac string) string { return api.Prefix + "/machines/" + url.PathEscape(mac) + "/power" }

func (c *Client) get(ctx context.Context, path string, into any) error {
	return c.ask(ctx, http.MethodGet, path, nil, into)
}

// ask sends what and reads the answer into into; each may be nil.
func (c *Client) ask(ctx context.Context, method, path string, what, into any) error {
	return c.askWithin(ctx, patience, method, path, what, into)
}

func (c *Client) askWithin(ctx context.Context, limit time.Duration, method, path string, what, into any) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	resp, err := c.send(ctx, method, path, what)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if into == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return fmt.Errorf("answer of the boot server to %s: %w", path, err)
	}
	return nil
}

// send gives the answer to a request that was granted.
func (c *Client) send(ctx context.Context, method, path string, what any) (*http.Response, error) {
	var body io.Reader
	if what != nil {
		data, err := json.Marshal(what)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, failure{ErrUnreachable, fmt.Sprintf("no boot server answers at %s; %s", c.at, c.remedy)}
	case errors.Is(err, fs.ErrPermission):
		return nil, failure{ErrRefused, fmt.Sprintf("ask the boot server at %s: permission denied; only its own user may, usually root", c.at)}
	case err != nil:
		return nil, failure{ErrUnreachable, fmt.Sprintf("ask the boot server at %s: %v", c.at, errors.Unwrap(err))}
	case resp.StatusCode/100 == 2:
		return resp, nil
	}
	defer resp.Body.Close()
	said := c.reason(resp)
	if resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden {
		return nil, failure{ErrRefused, fmt.Sprintf("the boot server at %s refuses: %s", c.at, said)}
	}
	return nil, fmt.Errorf("the boot server says: %s", said)
}

// reason is what the server says about a request that it did not grant.
func (c *Client) reason(resp *http.Response) string {
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	var problem struct {
		Detail string
		Errors []struct{ Location, Message string }
	}
	if json.Unmarshal(text, &problem) != nil || problem.Detail == "" {
		return strings.TrimSpace(resp.Status + ": " + string(text[:min(len(text), 512)]))
	}
	for _, e := range problem.Errors {
		problem.Detail += "\n" + strings.TrimPrefix(e.Location, "body.") + ": " + e.Message
	}
	return problem.Detail
}
