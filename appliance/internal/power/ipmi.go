package power

import (
	"context"
	"fmt"
	"time"

	"github.com/bougou/go-ipmi/pkg/client"
	"github.com/bougou/go-ipmi/pkg/command/chassis"
	"github.com/bougou/go-ipmi/pkg/types"
)

// bmc is a controller that speaks IPMI.
type bmc struct {
	*client.Client
	bios bool
}

// Some controllers lose the first datagram.
const (
	ipmiTimeout = 3 * time.Second
	ipmiTries   = 3
)

func openIPMI(ctx context.Context, m Machine, password string) (controller, error) {
	at := m.at(623)
	c, err := client.NewClient(at.Addr().String(), int(at.Port()), m.Way.User, password)
	if err != nil {
		return nil, err
	}
	// Named, and not asked for: among those that controllers offer are some without
	// any encryption, and not all answer that question. 17 is SHA-256 and AES-128,
	// 3 is SHA-1 and AES-128, for controllers from before 2015.
	c = c.WithTimeout(ipmiTimeout).WithRetry(ipmiTries).WithCipherSuiteID(types.CipherSuiteID17, types.CipherSuiteID3)
	if err := c.Connect(ctx); err != nil {
		return nil, fmt.Errorf("log in as %q: %w", m.Way.User, err)
	}
	return bmc{c, m.Way.BIOS}, nil
}

func (b bmc) close() { _ = b.Close(context.Background()) } // a session that stays ends by itself

func (b bmc) state(ctx context.Context) (State, error) {
	status, err := b.GetChassisStatus(ctx)
	if err != nil {
		return Unknown, err
	}
	if status.PowerIsOn {
		return IsOn, nil
	}
	return IsOff, nil
}

func (b bmc) bootFromNetwork(ctx context.Context) error {
	firmware := types.BIOSBootTypeEFI
	if b.bios {
		firmware = types.BIOSBootTypeLegacy
	}
	return b.SetBootDevice(ctx, types.BootDeviceSelectorForcePXE, firmware, false)
}

func (b bmc) do(ctx context.Context, a Action) error {
	_, err := b.ChassisControl(ctx, map[Action]chassis.ChassisControl{
		On: chassis.ChassisControlPowerUp, Off: chassis.ChassisControlPowerDown, Cycle: chassis.ChassisControlPowerCycle,
	}[a])
	return err
}
