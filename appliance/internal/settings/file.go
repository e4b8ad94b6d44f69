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

// File has the shape of the settings file. The tags are its keys; the comments
// are what the JSON Schema and docs/settings.md say about them, both made by
// TestSchema.
type File struct {
	Networks map[string]Network `yaml:"networks"` // networks that machines boot on, by name
	Racks    map[string]Rack    `yaml:"racks"`    // where machines stand, by name
	Groups   map[string]Group   `yaml:"groups"`   // what machines are for, by name
	Machines []Machine          `yaml:"machines"` // machines by the MAC address that they boot with
	Defaults Boot               `yaml:"defaults"` // what machines boot unless their network, rack, group or own entry says otherwise
	Images   map[string]Image   `yaml:"images"`   // names of your own for images, so that one line moves all who boot it
	Server   Server             `yaml:"server"`   // the boot server itself
	Admin    Admin              `yaml:"admin"`    // pages and API for the admin
	Origin   Origin             `yaml:"origin"`   // store of images elsewhere
	Webhooks map[string]Webhook `yaml:"webhooks"` // programs that are told of stages that machines reach, by POST, by name
	Traces   Traces             `yaml:"traces"`   // OpenTelemetry collector that is told of boots
	Power    map[string]Power   `yaml:"power"`    // ways to switch machines on and off, by name

	// What a machine that is not listed gets: deny (nothing; its MAC is in the
	// log), default (the image of its network) or discover (it tells what it is,
	// and waits for swarmboot machine adopt); default: deny
	Unknown bootserver.Policy `yaml:"unknown"`
}

// Server is the boot server itself.
type Server struct {
	HTTP      uint16 `yaml:"http"`      // TCP port of the web server: scripts, kernels, reports, tracker; default: 80
	Swarm     uint16 `yaml:"swarm"`     // TCP port of the seeder; default: 6881
	State     string `yaml:"state"`     // folder of images, keys, leases, profiles and the control socket; default: /var/lib/swarmboot
	Loaders   string `yaml:"loaders"`   // folder that `swarmboot loaders fetch` fills; default: /usr/lib/swarmboot/loaders
	Initramfs string `yaml:"initramfs"` // the common initramfs; that for arm64 lies beside it, as initramfs-arm64.cpio.zst; default: /usr/lib/swarmboot/initramfs.cpio.zst
}

// Admin is the listener of the admin pages and the API, apart from what machines
// talk to. Off loopback it speaks TLS and asks for a token.
type Admin struct {
	// Address and TCP port of the admin pages and the API. On any but loopback they
	// speak TLS and ask for a token (swarmboot token new NAME); what changes
	// something takes one of scope write everywhere; default: 127.0.0.1:8470
	Listen      netip.AddrPort `yaml:"listen"`
	Names       []string       `yaml:"names"`       // host names that browsers reach it by, besides localhost and its addresses
	Certificate string         `yaml:"certificate"` // file of a TLS certificate (PEM); default: one that the server makes; its fingerprint is in the log
	Key         string         `yaml:"key"`         // file of the certificate's private key
}

// Origin is a store of images elsewhere, which several boot servers may share:
// the server fetches from it what its machines are to boot.
type Origin struct {
	// s3:https://HOST/BUCKET/PATH for a bucket, https://HOST/PATH for a web server.
	// The server fetches what its machines are to boot and its catalogue lacks,
	// checks every byte against the signature, and keeps it; what is broken off goes
	// on where it was; default: images are in the state folder
	URL         string `yaml:"url"`
	Credentials string `yaml:"credentials"` // file of the bucket's keys, as AWS's tools write it; default: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of the environment
	// How often the store is asked whether the tags that machines boot by have moved
	// there: they then move here, with their image. One that was moved here stays,
	// until it moves there again; default: 1m
	Poll time.Duration `yaml:"poll"`
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
	Interface string `yaml:"interface"` // network card that the machines are on

	// this server's own address there, and the length of the network's prefix
	Address netip.Prefix `yaml:"address" jsonschema:"example=10.77.0.1/24"`

	// network behind relays
	Subnet netip.Prefix `yaml:"subnet" jsonschema:"example=10.78.0.0/24"`

	Server   netip.Addr         `yaml:"server"`   // which of this server's addresses machines behind relays reach it by
	Mode     bootserver.Mode    `yaml:"mode"`     // how far this server is the network's DHCP server: full, proxy (another server gives addresses), reservations (listed machines only) or off; default: full
	Pool     bootserver.Range   `yaml:"pool"`     // addresses for machines that have none of their own; default: none
	Address6 Prefix6            `yaml:"address6"` // this server's own IPv6 address there. Firmware that boots over IPv6 gets loader, script and kernel by it; from init on, machines use IPv4; default: no IPv6
	Subnet6  Network6           `yaml:"subnet6"`  // IPv6 network behind relays, besides subnet
	Pool6    Range6             `yaml:"pool6"`    // IPv6 addresses for machines that have none of their own
	Router   netip.Addr         `yaml:"router"`   // the machines' default route
	DNS      []netip.Addr       `yaml:"dns"`      // name servers
	NTP      []netip.Addr       `yaml:"ntp"`      // time servers
	Log      []netip.Addr       `yaml:"log"`      // log servers
	Domain   string             `yaml:"domain"`   // the machines' domain name
	Routes   []bootserver.Route `yaml:"routes"`   // routes besides the default one, each NETWORK via ROUTER
	Lease    time.Duration      `yaml:"lease"`    // how long an address is given out; a machine that is heard of keeps its own; default: 24h
	Unknown  bootserver.Policy  `yaml:"unknown"`  // as unknown, for this network alone; default: as for all networks
	Boot     `yaml:",inline"`
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
	Image      Image          `yaml:"image"`       // name@version, name@tag, or a name under images
	KernelArgs []string       `yaml:"kernel_args"` // kernel arguments such as console=ttyS0, besides those from further out
	Loader     loaders.Policy `yaml:"loader"`      // the first program that it loads; default: grub
	Rescue     *bool          `yaml:"rescue"`      // a machine that cannot boot opens a shell on its console; default: false
	Power      string         `yaml:"power"`       // way to switch it on and off; a name under power

	AuthorizedKeys []SSHKey      `yaml:"authorized_keys"` // SSH keys by which root logs in, besides those of the image and from further out
	Files          []MachineFile `yaml:"files"`           // files that the machine has in place of the image's, besides those from further out
	UserData       string        `yaml:"user_data"`       // file with user data for cloud-init

	// Who configures the card that it boots from in the running system. image: the
	// card is as the boot has left it, unless the image has its own way. dhcp: the
	// image's network service (netplan, ifupdown or systemd-networkd) keeps the card
	// by DHCP; default: image
	NetworkSetup bootserver.NetworkSetup `yaml:"network_setup"`

	// Kernel and initramfs come from a machine of the same rack where one is ready,
	// else from the server; two machines of a rack keep them in memory (some 20 MB)
	// for the others. Not with loader: secure-boot; default: false
	BootFromPeers *bool `yaml:"boot_from_peers"`

	// Name of the disk partition (GPT) on which the machine keeps the pieces that it
	// has fetched. Its next boot fetches only what is missing; of another version of
	// the image, only blocks of 16 KiB that are new. The partition must be
	// empty, its first MiB zero, or a cache already; any other is left alone, and the
	// boot stops and says so; default: none, nothing is written to a disk
	Cache PartitionName `yaml:"cache"`

	// Name of the disk partition (GPT) that keeps what the machine writes to its
	// root. It must be empty, its first MiB zero, and gets an ext4 file system; or
	// have one labelled swarmboot (e2label). Any other is left alone, and the boot
	// stops and says so. Host name, keys and files are the settings' at each boot
	// all the same; default: none, it is gone with the next boot
	Persistent PartitionName `yaml:"persistent"`

	// version: each version of an image has writes of its own, so that a rollback
	// finds those from before; /run/swarmboot/writes on the machine has a folder for
	// each, to be removed when there are too many. image: all versions of an image
	// have the same; a file that the machine has changed stays so, whatever a new
	// version brings; default: version
	PersistentOver bootserver.Over `yaml:"persistent_over"`

	// Disk of the machine, as Linux calls it (nvme0n1): once its image is complete,
	// the machine writes it there, with kernel and loader, and starts from there the
	// next time, with or without this server; what it then writes is kept, as with
	// persistent. When image, settings or keys have changed, it boots over the
	// network again, without what is kept on the disk, and writes them there. UEFI,
	// with Secure Boot too, and BIOS start from it. The disk must be empty, its first
	// MiB zero, or installed by us; any other is left alone, and machine list says
	// so; default: none
	Install DiskName `yaml:"install"`
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
