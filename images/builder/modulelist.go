package builder

// mustHave are the modules without which no machine gets as far as its root.
// The kernel has each of them either built in or as a module.
var mustHave = []string{
	"af_packet",                           // DHCP before there is an address
	"fuse", "loop", "squashfs", "overlay", // the root, from the bottom up
}

// mayHave are taken if the kernel has them as modules: a cloud kernel lacks
// most of the drivers. Each brings along what it depends on.
var mayHave = []string{
	// Checksums, reached through the crypto API and so by no dependency.
	"crc32c_generic", "crc32c_intel",

	// Virtual machines: KVM, VMware, Hyper-V and Azure, Xen, Google, Amazon.
	"virtio_pci", "virtio_mmio", "virtio_net",
	"vmxnet3",
	"hv_netvsc", "pci_hyperv", "mana",
	"xen_netfront",
	"gve",
	"ena",

	// Intel, from what QEMU and VMware emulate to 100 Gbit/s and its virtual functions.
	"e100", "e1000", "e1000e", "igb", "igbvf", "igc", "ixgbe", "ixgbevf", "i40e", "iavf", "ice",
	// Broadcom; bnx2 and bnx2x need firmware.
	"tg3", "bnxt_en", "bnx2", "bnx2x",
	// Mellanox and NVIDIA.
	"mlx4_en", "mlx5_core",
	// Realtek; 8139cp is also QEMU's rtl8139.
	"r8169", "8139cp", "8139too",
	// Other servers and workstations: Emulex, Cisco, Pensando, Aquantia, Solarflare.
	"be2net", "enic", "ionic", "atlantic", "sfc",
	// Older boards: Atheros, NVIDIA, Marvell, AMD (also what VMware and QEMU call pcnet).
	"alx", "atl1c", "forcedeth", "sky2", "pcnet32", "amd_xgbe",

	// Disks, on which a machine may keep pieces for its next boot, or what it writes.
	"ext4",
	"nvme", "ahci", "sd_mod", "virtio_blk", "virtio_scsi", "vmw_pvscsi", "megaraid_sas", "mpt3sas", "smartpqi",

	// Transceivers that drivers above ask for by an ID, which no dependency tells.
	"realtek", "broadcom", "marvell", "aquantia",

	// Network adapters and docks on USB, and the ports they are in.
	"xhci_pci", "ehci_pci",
	"asix", "ax88179_178a", "r8152", "cdc_ether", "cdc_ncm", "smsc95xx", "lan78xx",
}
