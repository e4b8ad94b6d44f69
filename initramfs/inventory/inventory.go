// Package inventory is what a machine that nobody has listed yet tells the boot
// server about itself, and what the server answers: wait, or boot.
//
// init sends it (Client), bootweb reads it (Decode); pages and commands show it.
package inventory

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// Path is where the boot server takes inventories by POST.
const Path = "/inventory"

// Again is how often a machine asks while it waits to be adopted.
const Again = 5 * time.Second

// MaxSize bounds the size in bytes of an encoded inventory.
const MaxSize = 64 << 10

// maxText bounds each text in it, and maxItems each list.
const (
	maxText  = 128
	maxItems = 64
)

// An Inventory is one machine as it sees itself. Whatever it could not find out
// is left empty.
type Inventory struct {
	Machine string `json:"machine"`          // MAC of the booting card, lower case with colons
	Vendor  string `json:"vendor,omitempty"` // as its firmware has it (SMBIOS)
	Product string `json:"product,omitempty"`
	Serial  string `json:"serial,omitempty"`
	Arch    string `json:"arch"`          // as Go names it: amd64, arm64
	CPU     string `json:"cpu,omitempty"` // model
	CPUs    int    `json:"cpus"`          // that the kernel uses
	Memory  int64  `json:"memory"`        // bytes that the kernel uses
	Cards   []Card `json:"cards,omitempty"`
	Disks   []Disk `json:"disks,omitempty"`
}

// A Card is one network card.
type Card struct {
	Name   string `json:"name"` // as Linux calls it
	MAC    string `json:"mac"`
	Driver string `json:"driver,omitempty"`
	Link   bool   `json:"link"`             // a cable with something at its other end
	Switch string `json:"switch,omitempty"` // what it is plugged into, if that tells (LLDP)
	Port   string `json:"port,omitempty"`   // and where there
}

// A Disk is one block device that holds data when the power is off.
type Disk struct {
	Name  string `json:"name"` // as Linux calls it
	Bytes int64  `json:"bytes"`
	Model string `json:"model,omitempty"`
	Spins bool   `json:"spins"` // a hard disk, not a solid state one
}

// An Answer is what the boot server has a machine do.
type Answer struct {
	Do Order `json:"do"`
}

// Order is one word to a machine.
type Order string

const (
	Wait    Order = "wait"    // nobody has adopted it yet; ask again
	Boot    Order = "boot"    // go on, to the boot description
	Restart Order = "restart" // start anew, with another kernel or other arguments
)

// Encode gives the inventory's JSON.
func (i Inventory) Encode() ([]byte, error) {
	data, err := json.Marshal(i)
	if err != nil {
		return nil, fmt.Errorf("encode inventory: %w", err)
	}
	return data, nil
}

// Decode reads an inventory from the network. It refuses what no machine of ours
// sends, and what would take too much memory or spoil a terminal.
func Decode(data []byte) (Inventory, error) {
	var i Inventory
	if len(data) > MaxSize {
		return i, fmt.Errorf("inventory of %d bytes; at most %d are read", len(data), MaxSize)
	}
	if err := json.Unmarshal(data, &i); err != nil {
		return Inventory{}, fmt.Errorf("inventory: %w", err)
	}
	mac, err := net.ParseMAC(i.Machine)
	if err != nil || len(mac) != 6 {
		return Inventory{}, fmt.Errorf("inventory: machine %.40q is no MAC address", i.Machine)
	}
	i.Machine = mac.String()
	if i.CPUs < 0 || i.Memory < 0 || len(i.Cards) > maxItems || len(i.Disks) > maxItems {
		return Inventory{}, fmt.Errorf("inventory of %s: %d processors, %d bytes of memory, %d cards, %d disks", mac, i.CPUs, i.Memory, len(i.Cards), len(i.Disks))
	}
	texts := []*string{&i.Vendor, &i.Product, &i.Serial, &i.Arch, &i.CPU}
	for n := range i.Cards {
		c := &i.Cards[n]
		texts = append(texts, &c.Name, &c.MAC, &c.Driver, &c.Switch, &c.Port)
	}
	for n := range i.Disks {
		d := &i.Disks[n]
		if d.Bytes < 0 {
			return Inventory{}, fmt.Errorf("inventory of %s: disk of %d bytes", mac, d.Bytes)
		}
		texts = append(texts, &d.Name, &d.Model)
	}
	for _, text := range texts {
		*text = Plain(*text)
	}
	return i, nil
}

// Plain is text from firmware, disks and switches as it may be shown: one line,
// nothing that a terminal obeys, not too long.
func Plain(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\uFFFD' {
			return -1
		}
		return r
	}, text)
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > maxText {
		text = string(runes[:maxText])
	}
	return text
}

// Client sends inventories to the boot server.
type Client struct {
	Server string // base URL, such as http://10.77.0.1
	HTTP   *http.Client
}

// NewClient returns a client that gives up on one inventory after ten seconds.
func NewClient(server string) *Client {
	return &Client{Server: server, HTTP: &http.Client{Timeout: 10 * time.Second}}
}

// Send delivers i once and returns what the machine is to do.
func (c *Client) Send(ctx context.Context, i Inventory) (Order, error) {
	data, err := i.Encode()
	if err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.Server+Path, bytes.NewReader(data))
	if err != nil {
		return "", fmt.Errorf("send inventory: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.HTTP.Do(req)
	if err != nil {
		return "", fmt.Errorf("send inventory: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	if err != nil {
		return "", fmt.Errorf("send inventory: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("send inventory: the server answered %s: %.512q", resp.Status, body)
	}
	var a Answer
	if err := json.Unmarshal(body, &a); err != nil {
		return "", fmt.Errorf("answer to the inventory: %w", err)
	}
	switch a.Do {
	case Wait, Boot, Restart:
		return a.Do, nil
	}
	return "", fmt.Errorf("answer to the inventory: unknown order %.40q", a.Do)
}
