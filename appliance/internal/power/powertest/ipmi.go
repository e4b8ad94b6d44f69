package powertest

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// An IPMI controller is Debian's ipmi_sim, whose machine is a file that says
// whether it is on.
type IPMI struct {
	At  netip.AddrPort
	dir string
}

// NewIPMI starts one on loopback. It skips the test where there is no ipmi_sim.
func NewIPMI(t *testing.T) *IPMI {
	t.Helper()
	if _, err := exec.LookPath("ipmi_sim"); err != nil {
		t.Skip("needs ipmi_sim (package openipmi)")
	}
	s := &IPMI{At: freePort(t), dir: t.TempDir()}
	s.write(t, "chassis", 0o755, `#!/bin/sh
# what ipmi_sim asks: get NAME... or set NAME VALUE...
cd "${0%/*}" && echo "$@" >> did
verb=$1; shift
while [ $# -gt 0 ]; do
	case $verb-$1 in
	get-power) echo "power:$(cat power)" ;;
	get-*) echo "$1:0" ;;
	set-power) echo "$2" > power ;;
	esac
	[ $verb = get ] && shift || shift 2
done
`)
	s.write(t, "power", 0o644, "0")
	args, err := Simulator(s.dir, s.At, fmt.Sprintf("chassis_control %q", filepath.Join(s.dir, "chassis")))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.dir, t.Output(), t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	s.awaken(t)
	return s
}

// Simulator gives the command of an ipmi_sim that listens at an address and has
// its files in dir. machine are the lines of lan.conf that say how its machine is
// switched.
func Simulator(dir string, at netip.AddrPort, machine string) (command []string, err error) {
	lan, controller := filepath.Join(dir, "lan.conf"), filepath.Join(dir, "sim.emu")
	err = os.WriteFile(controller, []byte("mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02\nmc_enable 0x20\n"), 0o644)
	if err == nil {
		err = os.WriteFile(lan, fmt.Appendf(nil, `name "bmc"
set_working_mc 0x20
  startlan 1
    addr %s %d
    priv_limit admin
    allowed_auths_admin none md2 md5 straight
    guid a123456789abcdefa123456789abcdef
  endlan
  %s
  user 2 true "%s" "%s" admin 10 none md2 md5 straight
`, at.Addr(), at.Port(), machine, User, Password), 0o644)
	}
	return []string{"ipmi_sim", "-c", lan, "-f", controller, "-s", dir, "-n"}, err
}

// awaken waits until the controller answers a ping of RMCP (ASF 2.0, 3.2.4.3).
func (s *IPMI) awaken(t *testing.T) {
	t.Helper()
	conn, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(s.At))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ping := []byte{6, 0, 255, 6, 0, 0, 0x11, 0xbe, 0x80, 0, 0, 0}
	for range 300 {
		again := time.Now().Add(100 * time.Millisecond)
		conn.SetReadDeadline(again)
		if _, err := conn.Write(ping); err == nil {
			if _, err := conn.Read(make([]byte, 99)); err == nil {
				return
			}
		}
		time.Sleep(time.Until(again)) // refused at once
	}
	t.Fatal("ipmi_sim does not answer")
}

// freePort is one of UDP on which nobody listens at this moment.
func freePort(t *testing.T) netip.AddrPort {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

func (s *IPMI) write(t *testing.T, name string, mode os.FileMode, text string) {
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

// Did tells what has been set, in its order.
func (s *IPMI) Did(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(s.dir, "did"))
	if err != nil {
		t.Fatal(err)
	}
	var did []string
	for line := range strings.Lines(string(text)) {
		if what, ok := strings.CutPrefix(strings.TrimSpace(line), "set "); ok {
			did = append(did, what)
		}
	}
	return strings.Join(did, ", ")
}
