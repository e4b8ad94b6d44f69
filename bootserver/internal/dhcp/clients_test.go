package dhcp

import (
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"
)

// showAll is the script of a DHCP client: it writes down what the client was told.
const showAll = "#!/bin/sh\nexec env > %s\n"

// lease runs a DHCP client once on the host and returns what it was told.
func (h *host) lease(client string) string {
	h.Helper()
	dir := h.TempDir()
	script, told := filepath.Join(dir, "script"), filepath.Join(dir, "told")
	if err := os.WriteFile(script, fmt.Appendf(nil, showAll, told), 0o755); err != nil {
		h.Fatal(err)
	}
	switch client {
	case "dhclient":
		// PREINIT, which the script is called with first, is to leave the card up.
		h.run(fmt.Sprintf("dhclient -4 -1 -v -sf %s -lf %s/leases -pf %s/pid eth0", script, dir, dir))
		defer h.run(fmt.Sprintf("dhclient -4 -x -sf /bin/true -lf %s/leases -pf %s/pid eth0", dir, dir)) // else it goes on
	case "udhcpc":
		h.run("busybox udhcpc -f -q -n -t 8 -T 2 -i eth0 -s " + script + " -O ntpsrv -O staticroutes -O search")
	case "dhcpcd":
		h.run("dhcpcd -4 -1 -B -t 30 --noarp -o ntp_servers,log_servers -c " + script + " eth0")
	}
	text, err := os.ReadFile(told)
	if err != nil {
		h.Fatal(err)
	}
	return string(text)
}

// One machine keeps one address, whichever program asks for it, and each program
// understands what the network is told.
func TestClientsOfOneMachineGetOneAddress(t *testing.T) {
	l := onLAN(t, "dhclient", "busybox", "dhcpcd")
	if l == nil {
		return
	}
	n := wireNetwork(Full)
	n.NTP, n.Log, n.Domain = []netip.Addr{address(54)}, []netip.Addr{address(55)}, "rack.example"
	n.Routes = []Route{{netip.MustParsePrefix("10.99.0.0/16"), address(253)}}
	s, _ := l.serve(everybody{}, n)
	h := l.host("one", "br0")
	var program atomic.Value
	if *update {
		l.capture(&program)
	}
	for client, words := range map[string][]string{
		"dhclient": {"10.77.0.53", "10.77.0.54", "10.77.0.55", "rack.example", "16 10 99 10 77 0 253 0 10 77 0 254"},
		"udhcpc":   {"10.77.0.53", "10.77.0.54", "rack.example", "10.99.0.0/16 10.77.0.253 0.0.0.0/0 10.77.0.254"},
		"dhcpcd":   {"10.77.0.53", "10.77.0.54", "10.77.0.55", "rack.example", "10.99.0.0/16 10.77.0.253 0.0.0.0/0 10.77.0.254"},
	} {
		program.Store(client + map[string]string{"dhclient": "-4.4.3", "udhcpc": "-1.35.0", "dhcpcd": "-9.4.1"}[client])
		told := h.lease(client)
		for _, want := range append(words, s.Address(h.mac).String()) {
			if !strings.Contains(told, want) {
				t.Errorf("%s was not told %s:\n%s", client, want, told)
			}
		}
	}
	if given := s.Leases(); len(given) != 1 {
		t.Errorf("leases of one machine: %v; want one", given)
	}
}

// The machines' network is behind a relay; the server knows it by giaddr alone.
// Renewals and releases come straight from the machine, by way of the router.
func TestThroughARelay(t *testing.T) {
	l := onLAN(t, "dhclient", "dhcrelay")
	if l == nil {
		return
	}
	l.run("ip link add br1 type bridge stp_state 0 forward_delay 0")
	l.run("ip link set br1 up")
	relay := l.host("relay", "br0")
	relay.run("ip address add 10.77.0.2/24 dev eth0")
	l.run("ip link add relay1 master br1 type veth peer name eth1 netns relay")
	l.run("ip link set relay1 up")
	relay.run("ip address add 10.88.0.1/24 dev eth1")
	relay.run("ip link set eth1 up")
	relay.run("sysctl -qw net.ipv4.ip_forward=1")
	l.run("ip route add 10.88.0.0/24 via 10.77.0.2")
	relay.run("ip route add default via 10.77.0.1")
	l.start(relay.command("dhcrelay -4 -d -a -id eth1 -iu eth0 10.77.0.1"))
	if *update {
		var program atomic.Value
		program.Store("dhclient-4.4.3-by-dhcrelay-4.4.3")
		l.capture(&program)
	}

	far := wireNetwork(Full)
	far.Name, far.Interface, far.Subnet = "far", "", netip.MustParsePrefix("10.88.0.0/24")
	far.First, far.Last = netip.MustParseAddr("10.88.0.100"), netip.MustParseAddr("10.88.0.103")
	far.Router = netip.MustParseAddr("10.88.0.1")
	s, log := l.serve(everybody{}, wireNetwork(Full), far)

	squatter := l.host("squatter", "br1")
	for _, last := range []int{100, 101, 102} {
		squatter.run(fmt.Sprintf("ip address add 10.88.0.%d/24 dev eth0", last))
	}
	squatter.run("ip route add default via 10.88.0.1")

	h := l.host("one", "br1")
	h.lease("dhclient")
	address := s.Address(h.mac)
	if address != far.Last {
		t.Fatalf("address of a machine behind a relay = %s; want %s, which alone is free\n%s", address, far.Last, log)
	}
	h.run(fmt.Sprintf("ip address add %s/24 dev eth0", address))
	h.run("ip route add default via 10.88.0.1")
	leases := s.Leases()
	h.firmware("ovmf-2022.11.request.hex", 68, "10.77.0.1:67", func(p *dhcpv4.DHCPv4) {
		p.ClientIPAddr = ip(address)
		p.Options.Del(dhcpv4.OptionRequestedIPAddress)
		p.Options.Del(dhcpv4.OptionServerIdentifier)
	}, func(reply *dhcpv4.DHCPv4) bool { return reply.MessageType() == dhcpv4.MessageTypeAck })
	if again := s.Leases(); !again[0].Expires.After(leases[0].Expires) {
		t.Errorf("lease after a renewal ends at %v; want later than %v", again[0].Expires, leases[0].Expires)
	}
	h.release("ovmf-2022.11.request.hex", address, "10.77.0.1:67")
	waitFor(t, func() bool { return !s.Leases()[0].Expires.After(time.Now()) }, func() string { return "the lease to end" })
}

// release gives an address back.
func (h *host) release(capture string, address netip.Addr, to string) {
	h.Helper()
	packet := changed(h.T, capture, func(p *dhcpv4.DHCPv4) {
		p.ClientHWAddr, p.ClientIPAddr = h.mac.HardwareAddr(), ip(address)
		p.UpdateOption(dhcpv4.OptMessageType(dhcpv4.MessageTypeRelease))
	})
	if _, err := h.socket(68).WriteTo(packet, net.UDPAddrFromAddrPort(netip.MustParseAddrPort(to))); err != nil {
		h.Fatal(err)
	}
}

// What a machine is told by the server that gives it its address, and by ours
// beside it, on another computer and on the same.
func TestProxyBesideDnsmasq(t *testing.T) {
	l := onLAN(t, "dnsmasq", "dhclient")
	if l == nil {
		return
	}
	const dnsmasq = "dnsmasq --no-daemon --conf-file=/dev/null --port=0 --no-ping --dhcp-authoritative --dhcp-range=10.77.0.50,10.77.0.60,1h --dhcp-leasefile=/run/dnsmasq.leases --interface="
	other := l.host("other", "br0")
	other.run("ip address add 10.77.0.2/24 dev eth0")
	for where, start := range map[string]*exec.Cmd{
		"another computer": other.command(dnsmasq + "eth0"),
		"this computer":    exec.Command("dnsmasq", strings.Fields(dnsmasq + "br0")[1:]...),
	} {
		t.Run(where, func(t *testing.T) {
			l := &lan{T: t, hosts: l.hosts + len(where)}
			l.start(start).expect(t, "DHCP, IP range")
			s, log := l.serve(everybody{}, wireNetwork(Proxy))
			h := l.host(strings.Fields(where)[0], "br0")

			noEdit := func(*dhcpv4.DHCPv4) {}
			theirs := h.firmware("ovmf-2022.11.discover.hex", 68, "255.255.255.255:67", noEdit, func(p *dhcpv4.DHCPv4) bool { return addr(p.YourIPAddr).IsValid() })
			given := addr(theirs.YourIPAddr)
			if !netip.MustParsePrefix("10.77.0.48/28").Contains(given) {
				t.Fatalf("offer with the address %s; want dnsmasq's", given)
			}
			ours := h.firmware("ovmf-2022.11.discover.hex", 68, "255.255.255.255:67", noEdit, func(p *dhcpv4.DHCPv4) bool { return !addr(p.YourIPAddr).IsValid() })
			if ours.BootFileName != "snponly.efi" || ours.ClassIdentifier() != "PXEClient" || ours.IPAddressLeaseTime(0) != 0 || ours.SubnetMask() != nil {
				t.Errorf("our offer = %s; want a boot file for PXE, and no lease", ours.Summary())
			}

			h.lease("dhclient")
			waitFor(t, func() bool { return s.Address(h.mac).IsValid() }, func() string { return "the machine's address to be noticed" })
			address := s.Address(h.mac)
			if owner, ok := s.Owner(address); !ok || owner != h.mac {
				t.Errorf("Owner(%s) = %s, %v; want %s", address, owner, ok, h.mac)
			}
			h.run(fmt.Sprintf("ip address add %s/24 dev eth0", address))
			ack := h.firmware("ovmf-2022.11.request.hex", 4011, "10.77.0.1:4011", func(p *dhcpv4.DHCPv4) { p.ClientIPAddr = ip(address) },
				func(p *dhcpv4.DHCPv4) bool { return p.MessageType() == dhcpv4.MessageTypeAck })
			if ack.BootFileName != "snponly.efi" || addr(ack.YourIPAddr).IsValid() {
				t.Errorf("answer on port 4011 = %s; want the boot file and no address", ack.Summary())
			}
			if strings.Contains(log.String(), "level=WARN") {
				t.Errorf("the other server is expected here, and yet:\n%s", log)
			}
			if where == "another computer" {
				waitFor(t, func() bool { return len(s.Rivals()) == 1 }, func() string { return "the other server to be heard" })
			}
			err := s.Reload([]Network{wireNetwork(Full)})
			if refused := err != nil && strings.Contains(err.Error(), "another program had it"); refused != (where == "this computer") {
				t.Errorf("Reload to full mode = %v; want it refused where dnsmasq has the port, and only there", err)
			}
			start.Process.Kill()
		})
	}
}

func TestAnotherServerIsNamed(t *testing.T) {
	l := onLAN(t, "dnsmasq")
	if l == nil {
		return
	}
	other := l.host("other", "br0")
	other.run("ip address add 10.77.0.2/24 dev eth0")
	l.start(other.command("dnsmasq --no-daemon --conf-file=/dev/null --port=0 --no-ping --dhcp-range=10.77.0.50,10.77.0.60,1h --dhcp-leasefile=/run/dnsmasq.leases --dhcp-boot=rogue.efi --interface=eth0")).expect(t, "DHCP, IP range")
	s, log := l.serve(everybody{}, wireNetwork(Full))
	log.expect(t, "another DHCP server answers here")
	log.expect(t, "server=10.77.0.2 mac="+other.mac.String())
	if r := s.Rivals(); len(r) != 1 || r[0].Address != address(2) || r[0].File != "rogue.efi" {
		t.Errorf("Rivals() = %+v; want 10.77.0.2 with rogue.efi", r)
	}
}

func TestReservationsLeaveOtherMachinesToTheOtherServer(t *testing.T) {
	l := onLAN(t, "dnsmasq", "dhclient")
	if l == nil {
		return
	}
	other := l.host("other", "br0")
	other.run("ip address add 10.77.0.2/24 dev eth0")
	listed, stranger := l.host("listed", "br0"), l.host("stranger", "br0")
	l.start(other.command("dnsmasq --no-daemon --conf-file=/dev/null --port=0 --no-ping --dhcp-range=10.77.0.50,10.77.0.60,1h --dhcp-leasefile=/run/dnsmasq.leases --interface=eth0 --dhcp-host="+listed.mac.String()+",ignore")).expect(t, "DHCP, IP range")
	n := wireNetwork(Reservations)
	n.Reserved = map[MAC]netip.Addr{listed.mac: address(77)}
	s, _ := l.serve(everybody{map[MAC]string{listed.mac: "r1-n01"}}, n)
	if told := listed.lease("dhclient"); !strings.Contains(told, "new_ip_address=10.77.0.77") {
		t.Errorf("listed machine was told\n%s", told)
	}
	if told := stranger.lease("dhclient"); !strings.Contains(told, "new_dhcp_server_identifier=10.77.0.2") {
		t.Errorf("stranger was told\n%s", told)
	}
	if got := s.Stats(); got.Naks != 0 || got.Offers != 1 {
		t.Errorf("Stats() = %+v; want one OFFER and no NAK", got)
	}
}

// Another computer uses most of the pool without having asked. Machines that have
// their address already do not wait for those that are new.
func TestAddressesInUseAreNotOffered(t *testing.T) {
	l := onLAN(t, "dhclient")
	if l == nil {
		return
	}
	squatter := l.host("squatter", "br0")
	for _, last := range []int{100, 101, 102, 103, 104} {
		squatter.run(fmt.Sprintf("ip address add 10.77.0.%d/24 dev eth0", last))
	}
	n := wireNetwork(Full)
	n.Last = address(105)
	s, log := l.serve(everybody{}, n)
	h := l.host("one", "br0")
	h.lease("dhclient")
	if got := s.Address(h.mac); got != address(105) {
		t.Errorf("address = %s; want 10.77.0.105, which alone is free", got)
	}
	if s.Stats().InUse > 0 {
		log.expect(t, "used_by="+squatter.mac.String())
	}
	late := l.host("late", "br0")
	h.firmware("ovmf-2022.11.discover.hex", 68, "255.255.255.255:67", func(*dhcpv4.DHCPv4) {}, func(p *dhcpv4.DHCPv4) bool { return addr(p.YourIPAddr) == address(105) })
	conn := late.socket(68)
	conn.WriteTo(changed(t, "ovmf-2022.11.discover.hex", func(p *dhcpv4.DHCPv4) { p.ClientHWAddr = late.mac.HardwareAddr() }), net.UDPAddrFromAddrPort(netip.MustParseAddrPort("255.255.255.255:67")))
	log.expect(t, "no free address in the pool")
}

func TestInterfacesVanishAndReturn(t *testing.T) {
	l := onLAN(t, "busybox")
	if l == nil {
		return
	}
	s, log := l.serve(everybody{}, wireNetwork(Full))
	h := l.host("one", "br0")
	h.lease("udhcpc")
	before := s.Address(h.mac)

	l.run("ip link set one down") // the only cable of the bridge
	log.expect(t, "interface has no link")
	l.run("ip link set one up")
	log.expect(t, "interface has a link again")
	l.run("ip link set br0 down")
	l.run("ip link set br0 up")
	h.lease("udhcpc")

	l.run("ip link del br0")
	log.expect(t, "interface has gone")
	l.run("ip link add br0 type bridge stp_state 0 forward_delay 0")
	l.run("ip address add 10.77.0.1/24 dev br0")
	l.run("ip link set br0 up")
	l.run("ip link set one master br0")
	log.expect(t, "interface is back")
	h.lease("udhcpc")
	if after := s.Address(h.mac); after != before {
		t.Errorf("address after the interface has returned = %s; want %s again", after, before)
	}
}

func TestReloadKeepsLeasesAndPorts(t *testing.T) {
	l := onLAN(t, "busybox")
	if l == nil {
		return
	}
	n := wireNetwork(Full)
	s, _ := l.serve(everybody{}, n)
	h := l.host("one", "br0")
	h.lease("udhcpc")
	before, port := s.Address(h.mac), s.ports["br0"]

	second := n
	second.Name, second.Interface, second.Subnet, second.Server = "second", "br1", netip.MustParsePrefix("10.88.0.0/24"), netip.MustParseAddr("10.88.0.1")
	second.First, second.Last = netip.MustParseAddr("10.88.0.100"), netip.MustParseAddr("10.88.0.110")
	if err := s.Reload([]Network{n, second}); err == nil || !strings.Contains(err.Error(), "network second") {
		t.Errorf("Reload with an interface that is not there = %v; want an error that names the network", err)
	}
	if h.lease("udhcpc"); s.Address(h.mac) != before {
		t.Errorf("address after a refused reload = %s; want %s", s.Address(h.mac), before)
	}

	l.run("ip link add br1 type bridge stp_state 0 forward_delay 0")
	l.run("ip address add 10.88.0.1/24 dev br1")
	l.run("ip link set br1 up")
	n.Last = address(250)
	if err := s.Reload([]Network{n, second}); err != nil {
		t.Fatal(err)
	}
	two := l.host("two", "br1")
	two.lease("udhcpc")
	if got := s.Address(two.mac); !second.Subnet.Contains(got) {
		t.Errorf("address in the new network = %s", got)
	}
	if h.lease("udhcpc"); s.Address(h.mac) != before || s.ports["br0"] != port {
		t.Errorf("after a reload: address %s, port opened anew: %v; want %s and no", s.Address(h.mac), s.ports["br0"] != port, before)
	}
	if err := s.Reload([]Network{n}); err != nil {
		t.Fatal(err)
	}
	if w, err := openWire("br1", false); err != nil {
		t.Errorf("port of a network that is served no more: %v", err)
	} else {
		w.close()
	}
}

// capture writes what comes in at br0 to testdata, named after its sender: with
// -update, so that the tests without privileges see what real clients send.
func (l *lan) capture(sender *atomic.Value) {
	ifi, err := net.InterfaceByName("br0")
	if err != nil {
		l.Fatal(err)
	}
	filter, err := frameFilter(true)
	if err != nil {
		l.Fatal(err)
	}
	tap, err := packet.Listen(ifi, packet.Datagram, unix.ETH_P_IP, &packet.Config{Filter: filter})
	if err != nil {
		l.Fatal(err)
	}
	l.Cleanup(func() { tap.Close() })
	go func() {
		seen, buf := map[string]bool{}, make([]byte, 4096)
		for {
			n, _, err := tap.ReadFrom(buf)
			if err != nil {
				return
			}
			d, ok := parseDatagram(buf[:n])
			if !ok || d.to.Port() != serverPort {
				continue
			}
			req, _, err := parse(d.payload)
			if err != nil {
				continue
			}
			name := fmt.Sprintf("%s.%s.hex", sender.Load(), strings.ToLower(req.MessageType().String()))
			if kind := req.MessageType(); seen[name] || kind != dhcpv4.MessageTypeDiscover && kind != dhcpv4.MessageTypeRequest {
				continue
			}
			seen[name] = true
			if err := os.WriteFile(filepath.Join("testdata", name), []byte(wrap(hex.EncodeToString(d.payload))), 0o644); err != nil {
				l.Error(err)
			}
		}
	}()
}
