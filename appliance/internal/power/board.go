package power

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
)

// A Board has the machines that the settings in force say how to switch; at first
// there are none.
type Board struct {
	machines atomic.Pointer[map[string]Machine] // by MAC
}

// Set has machines, by their MAC addresses, take the place of all.
func (b *Board) Set(machines map[string]Machine) { b.machines.Store(&machines) }

// machine finds that with a MAC address: ErrNone.
func (b *Board) machine(mac string) (Machine, error) {
	hw, err := net.ParseMAC(mac)
	if err == nil {
		mac = hw.String()
	}
	if machines := b.machines.Load(); machines != nil {
		if m, ok := (*machines)[mac]; ok {
			return m, nil
		}
	}
	return Machine{}, fmt.Errorf("machine %s: %w", mac, ErrNone)
}

// Power asks whether a machine is on: ErrNone.
func (b *Board) Power(ctx context.Context, mac string) (State, error) {
	m, err := b.machine(mac)
	if err != nil {
		return Unknown, err
	}
	return m.State(ctx)
}

// Switch does a to a machine, and has it boot from the network next, if so:
// ErrNone.
func (b *Board) Switch(ctx context.Context, mac string, a Action, network bool) error {
	m, err := b.machine(mac)
	if err != nil {
		return err
	}
	return m.Do(ctx, a, network)
}
