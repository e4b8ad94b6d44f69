package vm

import (
	"context"
	"errors"
	"fmt"
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

// MachineConfig says what machine to start.
type MachineConfig struct {
	Name     string   // of the machine's folder and cable, at most 13 letters
	MAC      string   // of its network card
	Firmware Firmware // BIOS or UEFI
	NIC      string   // network card; empty: VirtioNIC
	Memory   int      // MiB; 0: 1024
	Rate     string   // of the cable, such as 100mbit; empty: no limit
}

// A Machine is a running computer.
type Machine struct {
	Config  MachineConfig
	Console *Console // its serial port

	lan     *LAN
	cmd     *exec.Cmd // QEMU
	monitor *monitor
	exited  chan struct{} // closed when QEMU has ended
}

// Start plugs a new machine in and switches it on.
func (l *LAN) Start(cfg MachineConfig) (*Machine, error) {
	if cfg.NIC == "" {
		cfg.NIC = VirtioNIC
	}
	if cfg.Memory == 0 {
		cfg.Memory = 1024
	}
	m := &Machine{Config: cfg, lan: l, exited: make(chan struct{})}
	if err := os.MkdirAll(m.Dir(), 0o755); err != nil {
		return nil, fmt.Errorf("start %s: %w", cfg.Name, err)
	}
	tap, err := l.plug(cfg.Name, cfg.Rate)
	if err != nil {
		return nil, err
	}
	if err := m.start(tap); err != nil {
		m.Kill()
		return nil, fmt.Errorf("start %s: %w", cfg.Name, err)
	}
	return m, nil
}

// Dir is the folder with the machine's console.log and console.sock.
func (m *Machine) Dir() string { return filepath.Join(m.lan.dir, m.Config.Name) }

func (m *Machine) start(tap string) error {
	firmware, err := m.Config.Firmware.arguments(m.Config.NIC, m.Config.MAC)
	if err != nil {
		return err
	}
	consolePath, qmpPath := filepath.Join(m.Dir(), "console.sock"), filepath.Join(m.Dir(), "qmp.sock")
	if len(consolePath) > 107 {
		return fmt.Errorf("%s is longer than a socket's name can be (107 letters)", consolePath)
	}
	accel := Accel()
	if accel == "tcg" {
		accel = "tcg,tb-size=256" // MiB of translated code, else up to 1 GiB a machine
	}
	args := append([]string{
		"-name", m.Config.Name,
		"-M", "q35,graphics=off", // no screen: the firmware talks on the serial port
		"-accel", accel,
		"-m", strconv.Itoa(m.Config.Memory),
		"-smp", "1", // a second one makes emulation slower
		"-nodefaults", "-display", "none",
		"-device", "virtio-rng-pci", // else key generation waits for entropy
		"-chardev", "socket,id=console,server=on,wait=off,path=" + consolePath + ",logfile=" + filepath.Join(m.Dir(), "console.log"),
		"-serial", "chardev:console",
		"-qmp", "unix:" + qmpPath + ",server=on,wait=off",
		"-netdev", "tap,id=lan,ifname=" + tap + ",script=no,downscript=no",
		"-S", // wait, until the console is being read
	}, firmware...)
	log, err := os.Create(filepath.Join(m.Dir(), "qemu.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := m.lan.Command(context.Background(), qemuProgram, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // it outlives the terminal of `make lab`
	if err := cmd.Start(); err != nil {
		return err
	}
	m.cmd = cmd
	go func() {
		cmd.Wait() // its words are in qemu.log
		close(m.exited)
	}()
	if err := m.listening(consolePath, qmpPath); err != nil {
		return err
	}
	if m.monitor, err = dialMonitor(qmpPath); err != nil {
		return err
	}
	if m.Console, err = dialConsole(consolePath); err != nil {
		return err
	}
	return m.monitor.execute("cont")
}

// listening waits until QEMU has made its sockets.
func (m *Machine) listening(paths ...string) error {
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for _, path := range paths {
		for {
			if _, err := os.Stat(path); err == nil {
				break
			}
			select {
			case <-m.exited:
				words, _ := os.ReadFile(filepath.Join(m.Dir(), "qemu.log"))
				return fmt.Errorf("QEMU has ended: %s", words)
			case <-deadline:
				return errors.New("QEMU does not answer")
			case <-tick.C:
			}
		}
	}
	return nil
}

// Reset presses the reset button.
func (m *Machine) Reset() error { return m.monitor.execute("system_reset") }

// WaitReset returns when the machine has restarted by itself.
func (m *Machine) WaitReset(ctx context.Context) error { return m.monitor.wait(ctx, "RESET") }

// WaitOff returns when the machine has switched itself off.
func (m *Machine) WaitOff(ctx context.Context) error {
	select {
	case <-m.exited:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait until %s is off: %w", m.Config.Name, context.Cause(ctx))
	}
}

// SetRate changes the rate of the machine's cable.
func (m *Machine) SetRate(rate string) error { return m.lan.SetRate(m.Config.Name, rate) }

// Detach leaves the machine running and its console to others.
func (m *Machine) Detach() {
	m.monitor.close()
	m.Console.close()
}

// Kill pulls the plug: the machine is off and its cable gone.
func (m *Machine) Kill() error {
	if m.cmd != nil {
		m.cmd.Process.Kill() // fails when it is off already
		<-m.exited
	}
	if m.monitor != nil {
		m.monitor.close()
	}
	if m.Console != nil {
		m.Console.close()
	}
	return m.lan.unplug(m.Config.Name)
}
