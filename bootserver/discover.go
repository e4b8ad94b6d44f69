package bootserver

import (
	"net"
	"slices"
	"time"

	"swarmboot/bootserver/internal/bootweb"
	"swarmboot/initramfs/bootargs"
	"swarmboot/initramfs/inventory"
	"swarmboot/initramfs/stage"
)

// found takes what a machine that waits to be adopted tells about itself, and
// says whether it is to wait on.
func (s *Server) found(i inventory.Inventory) (inventory.Order, error) {
	mac, err := net.ParseMAC(i.Machine)
	if err != nil {
		return "", err
	}
	m, n, ok := s.machine(mac)
	if !ok {
		return "", bootweb.ErrUnknown
	}
	if m.stranger {
		s.strangers.found(i, time.Now())
		s.report(stage.Report{Machine: i.Machine, Stage: stage.Discovered})
		return inventory.Wait, nil
	}
	now, _ := s.runs(i.Machine)
	order := adopted(now, running{m.Image, s.site.Load().kernelArgs(m, n)})
	s.log.Info("machine adopted", "machine", i.Machine, "name", m.Name, "image", m.Image, "order", order)
	return order, nil
}

// adopted tells how a machine comes from what it runs to what it is to run: if
// kernel and arguments are the same it may simply go on, which saves minutes of
// firmware.
func adopted(now, next running) inventory.Order {
	args := slices.DeleteFunc(slices.Clone(now.args), func(arg string) bool { return arg == bootargs.Discover })
	if now.image == next.image && slices.Equal(args, next.args) {
		return inventory.Boot
	}
	return inventory.Restart
}
