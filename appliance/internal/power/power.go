// Package power switches machines on and off, through the management controller
// (BMC) that a server has beside its processors, by IPMI (ipmi.go) or Redfish
// (redfish.go), or through a program of the admin's (command.go).
//
// package settings says which machine is reached in which way; cmd/swarmboot asks
// for State and Do on behalf of package api.
package power

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"swarmboot/appliance/internal/secret"
)

// State tells whether a machine is switched on.
type State string

const (
	IsOn    State = "on"
	IsOff   State = "off"
	Unknown State = "unknown" // its controller does not say, or it is on the way
)

// Action is what to do with a machine.
type Action string

const (
	On    Action = "on"
	Off   Action = "off"   // at once, as by pulling the plug
	Cycle Action = "cycle" // off and on again; on, if it is off
)

// Kind is a way to reach machines.
type Kind string

const (
	IPMI    Kind = "ipmi"    // version 2.0, encrypted (RMCP+)
	Redfish Kind = "redfish" // over HTTPS
	Command Kind = "command" // a program on the boot server
)

// Kinds lists all.
var Kinds = []Kind{IPMI, Redfish, Command}

// A Way is how some machines are reached.
type Way struct {
	Name        string
	Kind        Kind
	User        string
	Password    string   // file
	Port        uint16   // 0: that of the protocol
	Certificate string   // file (PEM) with whom to believe besides the system's; redfish
	Unverified  bool     // believe any certificate; redfish
	BIOS        bool     // machines start by BIOS, not UEFI; ipmi asks for the one or the other
	Command     []string // program and arguments, which are templates of Call
}

// A Machine is one that can be switched.
type Machine struct {
	Name string
	MAC  net.HardwareAddr // of the card that it boots from
	BMC  netip.Addr       // address of its controller
	Way  Way
}

// ErrNone says that the settings name no way to switch a machine.
var ErrNone = errors.New("the settings do not say how it is switched; give it power, and the address of its BMC")

// patience is how long a controller may take. Many are slow, and the first
// answer may take seconds.
const patience = 30 * time.Second

// A controller does what a machine's BMC can do.
type controller interface {
	state(context.Context) (State, error)
	bootFromNetwork(context.Context) error // the next time, whatever the boot order says
	do(context.Context, Action) error
	close()
}

// with opens m's controller for f.
func (m Machine) with(ctx context.Context, f func(context.Context, controller) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("it has not answered for %v", patience))
	defer cancel()
	c, err := m.open(ctx)
	if err == nil {
		err = f(ctx, c)
		c.close()
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	}
	if m.Way.Kind == Command {
		return fmt.Errorf("power of %s: %w", m.label(), err)
	}
	return fmt.Errorf("power of %s, %s at %s: %w", m.label(), m.Way.Kind, m.BMC, err)
}

func (m Machine) open(ctx context.Context) (controller, error) {
	if m.Way.Kind == Command {
		return program{m}, nil
	}
	password, err := secret.Read(m.Way.Password)
	if err != nil {
		return nil, err
	}
	if m.Way.Kind == IPMI {
		return openIPMI(ctx, m, password)
	}
	return openRedfish(ctx, m, password)
}

func (m Machine) label() string { return cmp.Or(m.Name, m.MAC.String()) }

// at is where m's controller listens; usual is the protocol's port.
func (m Machine) at(usual uint16) netip.AddrPort {
	return netip.AddrPortFrom(m.BMC, cmp.Or(m.Way.Port, usual))
}

// State asks whether the machine is on.
func (m Machine) State(ctx context.Context) (s State, err error) {
	err = m.with(ctx, func(ctx context.Context, c controller) (err error) {
		s, err = c.state(ctx)
		return err
	})
	return s, err
}

// Do switches the machine. With network it boots from the network card the next
// time, and only then, whatever its boot order says.
func (m Machine) Do(ctx context.Context, a Action, network bool) error {
	return m.with(ctx, func(ctx context.Context, c controller) error {
		if network {
			if err := c.bootFromNetwork(ctx); err != nil {
				return fmt.Errorf("boot from the network: %w", err)
			}
		}
		if a == Cycle { // controllers refuse it for a machine that is off
			s, err := c.state(ctx)
			if err != nil {
				return err
			}
			if s == IsOff {
				a = On
			}
		}
		return c.do(ctx, a)
	})
}
