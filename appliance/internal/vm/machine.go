package vm

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

const qemuProgram = "qemu-system-x86_64"

// Network cards that machines can have.
const (
	VirtioNIC = "virtio-net-pci"
	E1000NIC  = "e1000"
)

// DefaultMemory is what a machine has in MiB, if nothing else is said: the least
// that a machine needs for the images of the lab.
const DefaultMemory = 1024

// MemoryFor is what a machine needs in MiB that keeps a root of that many bytes
// in memory.
func MemoryFor(root int64) int { return DefaultMemory + int(root>>20) }

// MachineConfig says what machine to start.
type MachineConfig struct {
	Name     string         // of the machine's folder and cable, at most 13 letters
	MAC      string         // of its network card
	Firmware Firmware       // BIOS, UEFI and so on
	NIC      string         // network card; empty: VirtioNIC
	Memory   int            // MiB; 0: DefaultMemory
	Rate     string         // of the cable, such as 100mbit; empty: no limit
	Second   bool           // has a second serial port
	Screen   bool           // has a screen, on which its firmware talks
	Disk     string         // file of an NVMe disk, raw; empty: the machine has none
	FromDisk bool           // starts from that disk, not over the network
	BMC      netip.AddrPort // of its management controller, where that speaks with it (ipmi_sim's codec VM); invalid: none
}

// A Machine is a running computer.
type Machine struct {
	Config  MachineConfig
	Console *Console // its serial port
	Second  *Console // its second one, or nil

	lan     *LAN
	cmd     *exec.Cmd // QEMU; nil if somebody else has started it
	monitor *monitor
	exited  chan struct{} // closed when QEMU has ended
}

// Start plugs a new machine in and switches it on.
func (l *LAN) Start(cfg MachineConfig) (*Machine, error) {
	m, command, err := l.Plug(cfg)
	if err != nil {
		return nil, err
	}
	if err := m.start(command); err != nil {
		m.Kill()
		return nil, fmt.Errorf("start %s: %w", cfg.Name, err)
	}
	return m, nil
}

// Plug plugs a new machine in, and gives the command by which somebody else, such
// as its management controller, switches it on inside the LAN. Then Watch it.
func (l *LAN) Plug(cfg MachineConfig) (m *Machine, command []string, err error) {
	if cfg.NIC == "" {
		cfg.NIC = VirtioNIC
	}
	if cfg.Memory == 0 {
		cfg.Memory = DefaultMemory
	}
	m = &Machine{Config: cfg, lan: l, exited: make(chan struct{})}
	if longest := m.file("console.sock"); len(longest) > 107 {
		return nil, nil, fmt.Errorf("start %s: %s is longer than a socket's name can be (107 letters)", cfg.Name, longest)
	}
	if err := os.MkdirAll(m.Dir(), 0o755); err != nil {
		return nil, nil, fmt.Errorf("start %s: %w", cfg.Name, err)
	}
	tap, err := l.plug(cfg.Name, cfg.Rate)
	if err != nil {
		return nil, nil, err
	}
	if command, err = m.command(tap); err != nil {
		m.Kill()
		return nil, nil, fmt.Errorf("start %s: %w", cfg.Name, err)
	}
	return m, command, nil
}

// Dir is the folder with the machine's console.log and console.sock, and the
// same of its second serial port.
func (m *Machine) Dir() string { return filepath.Join(m.lan.dir, m.Config.Name) }

func (m *Machine) file(name string) string { return filepath.Join(m.Dir(), name) }

// command is QEMU with its arguments.
func (m *Machine) command(tap string) ([]string, error) {
	firmware, err := m.Config.Firmware.arguments(m.Config.NIC, m.Config.MAC)
	if err != nil {
		return nil, err
	}
	args := append([]string{
		m.Config.Firmware.program(),
		"-name", m.Config.Name,
		"-accel", m.Config.Firmware.accel(),
		"-m", strconv.Itoa(m.Config.Memory),
		"-smp", "1", // a second one makes emulation slower
		"-nodefaults", "-display", "none",
		"-device", "virtio-rng-pci", // else key generation waits for entropy
		"-netdev", "tap,id=lan,ifname=" + tap + ",script=no,downscript=no",
	}, append(m.Config.Firmware.board(m.Config.Screen), firmware...)...)
	if m.Config.Disk != "" {
		order := 9 // after the network card
		if m.Config.FromDisk {
			order = 0 // before it
		}
		device := fmt.Sprintf("nvme,drive=disk,serial=swarmboot,bootindex=%d", order)
		args = append(args, "-drive", "if=none,id=disk,format=raw,file="+m.Config.Disk, "-device", device)
	}
	if at := m.Config.BMC; at.IsValid() {
		args = append(args, "-chardev", fmt.Sprintf("socket,id=bmc,host=%s,port=%d,reconnect=1", at.Addr(), at.Port()),
			"-device", "ipmi-bmc-extern,id=controller,chardev=bmc", "-device", "isa-ipmi-kcs,bmc=controller")
	}
	args = append(args, m.serial("console")...)
	if m.Config.Second {
		args = append(args, m.serial("second")...)
	}
	// The last of the sockets: once it answers, all are there.
	return append(args, "-qmp", "unix:"+m.file("qmp.sock")+",server=on,wait=off"), nil
}

// start runs QEMU.
func (m *Machine) start(command []string) error {
	log, err := os.Create(m.file("qemu.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	command = append(command, "-S") // wait, until the console is being read
	cmd := m.lan.Command(context.Background(), command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // it outlives the terminal of the lab
	if err := cmd.Start(); err != nil {
		return err
	}
	m.cmd = cmd
	go func() {
		cmd.Wait() // its words are in qemu.log
		close(m.exited)
	}()
	if err := m.Watch(); err != nil {
		return err
	}
	return m.monitor.execute("cont", map[string]string{})
}

// Watch connects to a machine that somebody switches on, anew if it was off.
func (m *Machine) Watch() (err error) {
	m.Detach()
	if err := m.connect(); err != nil {
		return err
	}
	if m.Console, err = dialConsole(m.file("console.sock")); err != nil {
		return err
	}
	if m.Config.Second {
		if m.Second, err = dialConsole(m.file("second.sock")); err != nil {
			return err
		}
	}
	return nil
}

// serial are QEMU's arguments for one more serial port. Its words are kept in
// name.log, whoever else reads them.
func (m *Machine) serial(name string) []string {
	return []string{
		"-chardev", "socket,id=" + name + ",server=on,wait=off,path=" + m.file(name+".sock") + ",logfile=" + m.file(name+".log"),
		"-serial", "chardev:" + name,
	}
}

// connect dials the monitor until QEMU answers.
func (m *Machine) connect() (err error) {
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if m.monitor, err = dialMonitor(m.file("qmp.sock")); err == nil {
			return nil
		}
		select {
		case <-m.exited:
			words, _ := os.ReadFile(m.file("qemu.log"))
			return fmt.Errorf("QEMU has ended: %s", words)
		case <-deadline:
			return err
		case <-tick.C:
		}
	}
}

// Screenshot writes what is on the machine's screen into a PNG file.
func (m *Machine) Screenshot(file string) error {
	return m.monitor.execute("screendump", map[string]string{"filename": file, "format": "png"})
}

// WaitReset returns when the machine has restarted by itself.
func (m *Machine) WaitReset(ctx context.Context) error { return m.monitor.wait(ctx, "RESET") }

// WaitOff returns when the machine is off.
func (m *Machine) WaitOff(ctx context.Context) error {
	select {
	case <-m.monitor.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait until %s is off: %w", m.Config.Name, context.Cause(ctx))
	}
}

// SetRate changes the rate of the machine's cable.
func (m *Machine) SetRate(rate string) error { return m.lan.SetRate(m.Config.Name, rate) }

// Detach leaves the machine running and its console to others.
func (m *Machine) Detach() {
	for _, c := range []interface{ close() }{m.monitor, m.Console, m.Second} {
		c.close()
	}
}

// Kill pulls the plug: the machine is off and its cable gone.
func (m *Machine) Kill() error {
	if m.cmd != nil {
		m.cmd.Process.Kill() // fails when it is off already
		<-m.exited
	}
	m.Detach()
	return m.lan.unplug(m.Config.Name)
}
