package settings

import (
	"io/fs"
	"net"
	"net/netip"
	"time"

	"swarmboot/appliance/internal/power"
	"swarmboot/appliance/internal/state"
	"swarmboot/bootserver"
	"swarmboot/bootserver/loaders"
)

// File has the shape of the settings file. The tags are its keys, and the
// comments are what the JSON Schema says about them.
type File struct {
	Server   Server             `yaml:"server"`   // the boot server itself
	Admin    Admin              `yaml:"admin"`    // pages and API for the admin
	Networks map[string]Network `yaml:"networks"` // networks that machines boot on, by name
	Racks    map[string]Rack    `yaml:"racks"`    // where machines stand, by name
	Groups   map[string]Group   `yaml:"groups"`   // what machines are for, by name
	Machines []Machine          `yaml:"machines"` // machines by the MAC address that they boot with
	Defaults Boot               `yaml:"defaults"` // what machines boot unless their network, rack, group or own entry says otherwise
	Images   map[string]Image   `yaml:"images"`   // names of your own for images, so that one line moves all who boot it
	Unknown  bootserver.Policy  `yaml:"unknown"`  // what machines get that are not listed; default: deny
	Origin   Origin             `yaml:"origin"`   // store elsewhere that images come from which the state folder lacks
	Webhooks map[string]Webhook `yaml:"webhooks"` // programs that are told how machines come along, by name
	Traces   Traces             `yaml:"traces"`   // OpenTelemetry collector that is told of boots
	Power    map[string]Power   `yaml:"power"`    // ways to switch machines on and off, by name
}

// Server is the boot server itself.
type Server struct {
	HTTP      uint16 `yaml:"http"`      // TCP port of scripts, kernels, reports and the tracker; default: 80
	Swarm     uint16 `yaml:"swarm"`     // TCP port of the seeder; default: 6881
	State     string `yaml:"state"`     // folder of images, key, leases and the control socket; default: /var/lib/swarmboot
	Loaders   string `yaml:"loaders"`   // folder of the loaders; default: /usr/lib/swarmboot/loaders
	Initramfs string `yaml:"initramfs"` // the common initramfs; default: /usr/lib/swarmboot/initramfs.cpio.zst
}

// Admin is the listener of the admin pages and the API, apart from what machines
// talk to. Off loopback it speaks TLS and asks for a token.
type Admin struct {
	Listen      netip.AddrPort `yaml:"listen"`      // address and TCP port; default: 127.0.0.1:8470
	Names       []string       `yaml:"names"`       // host names that browsers reach it by, besides localhost and its addresses
	Certificate string         `yaml:"certificate"` // file of a TLS certificate (PEM); default: one that the server makes
	Key         string         `yaml:"key"`         // file of the certificate's private key
}

// Origin is a store of images elsewhere, which several boot servers may share:
// the server fetches from it what its machines are to boot.
type Origin struct {
	URL         string `yaml:"url"`         // https://HOST/PATH for a web server, s3:https://HOST/BUCKET for an S3 bucket
	Credentials string `yaml:"credentials"` // file of the bucket's keys, as AWS's tools write it; default: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of the environment
}

// Webhook is a program that is told, by POST, of the stages that machines reach.
type Webhook struct {
	URL    string   `yaml:"url"`    // where it listens, http or https
	Secret string   `yaml:"secret"` // file of the secret that signs what it is told, in base64
	Stages []string `yaml:"stages"` // stages that it is told of; default: ready failed
}

// Power is a way to switch machines on and off: through their management
// controllers (BMC), or by a program on this server.
type Power struct {
	Via         power.Kind `yaml:"via"`         // how
	User        string     `yaml:"user"`        // who logs in to the controller
	Password    string     `yaml:"password"`    // file with the password, which others may not read
	Port        uint16     `yaml:"port"`        // of the controller; default: 623 (ipmi), 443 (redfish)
	Certificate string     `yaml:"certificate"` // file of the certificates (PEM) to believe besides the system's (redfish)
	Verify      *bool      `yaml:"verify"`      // false: believe any certificate (redfish); default: true
	BIOS        *bool      `yaml:"bios"`        // the machines start by BIOS, not UEFI (ipmi); default: false
	Command     []string   `yaml:"command"`     // program and its arguments, which may ask for {{.Action}}, {{.Name}}, {{.MAC}} and {{.BMC}}
}

// Traces says where an OpenTelemetry collector is, which gets a trace of each boot.
type Traces struct {
	URL string `yaml:"url"` // where it takes OTLP over HTTP, such as http://127.0.0.1:4318/v1/traces
}

// Network is one network of machines. It has either a card of this server, with
// interface and address, or lies behind relays, with subnet.
type Network struct {
	Interface string             `yaml:"interface"` // network card that the machines are on
	Address   netip.Prefix       `yaml:"address"`   // this server's own address there, and the length of the network's prefix
	Subnet    netip.Prefix       `yaml:"subnet"`    // network behind relays
	Server    netip.Addr         `yaml:"server"`    // which of this server's addresses machines behind relays reach it by
	Mode      bootserver.Mode    `yaml:"mode"`      // how far this server is the network's DHCP server; default: full
	Pool      bootserver.Range   `yaml:"pool"`      // addresses for machines that have none of their own
	Address6  Prefix6            `yaml:"address6"`  // this server's own IPv6 address there; machines then get IPv6 addresses besides
	Subnet6   Network6           `yaml:"subnet6"`   // IPv6 network behind relays, besides subnet
	Pool6     Range6             `yaml:"pool6"`     // IPv6 addresses for machines that have none of their own
	Router    netip.Addr         `yaml:"router"`    // the machines' default route
	DNS       []netip.Addr       `yaml:"dns"`       // name servers
	NTP       []netip.Addr       `yaml:"ntp"`       // time servers
	Log       []netip.Addr       `yaml:"log"`       // log servers
	Domain    string             `yaml:"domain"`    // the machines' domain name
	Routes    []bootserver.Route `yaml:"routes"`    // routes besides the default one
	Lease     time.Duration      `yaml:"lease"`     // how long an address is given out; default: 24h
	Unknown   bootserver.Policy  `yaml:"unknown"`   // what machines get that are not listed; default: as for all networks
	Boot      `yaml:",inline"`
}

// Prefix6 is an IPv6 address with its network.
type Prefix6 struct{ netip.Prefix }

// Network6 is an IPv6 network.
type Network6 struct{ netip.Prefix }

// Range6 is a range of IPv6 addresses.
type Range6 struct{ bootserver.Range }

// Rack is a place where machines stand.
type Rack struct {
	Network string `yaml:"network"` // network that its machines boot on
	Boot    `yaml:",inline"`
}

// Group is what machines are for.
type Group struct {
	Boot `yaml:",inline"`
}

// Machine is one machine, or many that differ by number alone: a name such as
// r1-n[01-40] with as many MAC addresses.
type Machine struct {
	MAC      []net.HardwareAddr `yaml:"mac"`      // of the card it boots from; a list, or FIRST-LAST, for a range of names
	Name     string             `yaml:"name"`     // host name, such as r1-n01 or r1-n[01-40]; default: the image's own
	Rack     string             `yaml:"rack"`     // rack that it stands in
	Group    string             `yaml:"group"`    // group that it belongs to
	Network  string             `yaml:"network"`  // network that it boots on; default: that of its address, its rack's, or the only one
	Address  []netip.Addr       `yaml:"address"`  // its own address; a list, or FIRST-LAST, for a range of names; default: one from the pool
	Address6 Addresses6         `yaml:"address6"` // its own IPv6 address, likewise
	BMC      []netip.Addr       `yaml:"bmc"`      // address of its management controller; a list, or FIRST-LAST, for a range of names
	Boot     `yaml:",inline"`
}

// Addresses6 are IPv6 addresses.
type Addresses6 []netip.Addr

// Boot is what a machine inherits: from the defaults, its network, its rack, its
// group, and its own entry; the later wins, but kernel arguments, keys and
// files add up.
type Boot struct {
	Image      Image          `yaml:"image"`       // NAME@VERSION, or a name under images
	KernelArgs []string       `yaml:"kernel_args"` // kernel arguments, besides those from further out
	Loader     loaders.Policy `yaml:"loader"`      // the first program that it loads; default: grub
	Rescue     *bool          `yaml:"rescue"`      // open a shell on the console if the boot fails; default: false

	BootFromPeers *bool `yaml:"boot_from_peers"` // kernel and initramfs come from a machine of the same rack where one is ready, and this machine may serve them to others; default: false

	Cache          PartitionName           `yaml:"cache"`           // name of the disk partition (GPT) on which the machine keeps pieces for its next boot; default: none, memory alone
	Persistent     PartitionName           `yaml:"persistent"`      // name of the disk partition (GPT) that keeps what the machine writes; default: none, it is gone with the next boot
	PersistentOver bootserver.Over         `yaml:"persistent_over"` // what the machine has written stays with this version of its image, or with all versions of it; default: version
	Install        DiskName                `yaml:"install"`         // disk of the machine, as Linux calls it, that the image is written to; it then starts from there; default: none
	AuthorizedKeys []SSHKey                `yaml:"authorized_keys"` // SSH keys by which root logs in, besides those of the image and from further out
	Files          []MachineFile           `yaml:"files"`           // files that the machine has in place of the image's, besides those from further out
	UserData       string                  `yaml:"user_data"`       // file with user data for cloud-init
	Power          string                  `yaml:"power"`           // way to switch it on and off; a name under power
	NetworkSetup   bootserver.NetworkSetup `yaml:"network_setup"`   // who configures the card that it boots from in the running system; default: image
}

// PartitionName is what a GPT calls a partition.
type PartitionName string

// DiskName is what Linux calls a disk.
type DiskName string

// SSHKey is a line of an authorized_keys file.
type SSHKey string

// MachineFile is a file that machines get. What is in it is given to the machine
// alone.
type MachineFile struct {
	Path     string      `yaml:"path"`     // its place on the machine
	Content  string      `yaml:"content"`  // the text itself
	Source   string      `yaml:"source"`   // or a file on this server
	Mode     fs.FileMode `yaml:"mode"`     // permissions; default: 0644
	Template *bool       `yaml:"template"` // the text asks for {{.Name}}, {{.MAC}}, {{.Address}}, {{.Rack}}, {{.Group}} or {{.Network}}; default: false
}

// Image is NAME@VERSION, or a name under images.
type Image string

// defaults is what the file says where it says nothing.
func defaults() File {
	return File{
		Server: Server{
			HTTP: 80, Swarm: 6881, State: state.Default,
			Loaders: "/usr/lib/swarmboot/loaders", Initramfs: "/usr/lib/swarmboot/initramfs.cpio.zst",
		},
		Admin:   Admin{Listen: netip.MustParseAddrPort("127.0.0.1:8470")},
		Unknown: bootserver.Deny,
	}
}
