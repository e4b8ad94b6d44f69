package netup

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func loopback() error {
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	return nil
}

// find loads drivers until the NIC with the MAC is there.
func find(ctx context.Context, s Setup) (netlink.Link, error) {
	var found netlink.Link
	var seen []string
	var drivers error
	err := poll(ctx, findTimeout, func() (bool, error) {
		if err := s.Coldplug(); err != nil {
			drivers = err
			s.Say("a driver failed: %v", err)
		}
		links, err := netlink.LinkList()
		if err != nil {
			return false, fmt.Errorf("list NICs: %w", err)
		}
		seen = nil
		for _, link := range links {
			a := link.Attrs()
			if bytes.Equal(a.HardwareAddr, s.MAC) {
				found = link
				return true, nil
			}
			if len(a.HardwareAddr) > 0 && a.RawFlags&unix.IFF_LOOPBACK == 0 {
				seen = append(seen, a.Name+" "+a.HardwareAddr.String())
			}
		}
		return false, nil
	})
	if err == errPollTimeout {
		err = fmt.Errorf("no NIC with MAC %s after %v; %s", s.MAC, findTimeout, absence(seen, drivers))
	}
	return found, err
}

// absence says what there is instead of the NIC that was looked for.
func absence(seen []string, drivers error) string {
	text := "there is none at all: is its driver in the image's module archive?"
	if len(seen) > 0 {
		text = "here are " + strings.Join(seen, ", ")
	}
	if drivers != nil {
		text += "; a driver failed: " + drivers.Error()
	}
	return text
}

// carrier waits for the link's other end.
func carrier(ctx context.Context, link netlink.Link) error {
	name := link.Attrs().Name
	err := poll(ctx, carrierTimeout, func() (bool, error) {
		now, err := netlink.LinkByIndex(link.Attrs().Index)
		if err != nil {
			return false, fmt.Errorf("look at %s: %w", name, err)
		}
		return now.Attrs().RawFlags&unix.IFF_RUNNING != 0, nil
	})
	if err == errPollTimeout {
		return fmt.Errorf("%s has no link after %v: check its cable and its switch port", name, carrierTimeout)
	}
	return err
}

var errPollTimeout = fmt.Errorf("time is up")

// poll calls done at once and then every tick. Neither PCI nor a PHY tells us
// when it is ready, so there is no event to wait for.
func poll(ctx context.Context, timeout time.Duration, done func() (bool, error)) error {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	deadline := time.After(timeout)
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline:
			return errPollTimeout
		case <-ticker.C:
		}
	}
}
