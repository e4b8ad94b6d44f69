package loaders

// A File is one loader, and where it comes from.
type File struct {
	Name    string // in the folder of loaders; shim finds GRUB by grubx64.efi, beside itself
	SHA256  string
	Package string // of Debian 13
	Arch    string // Debian's, of the package
	Path    string // in the package: the file, or a folder of GRUB's parts, of which it is made (bios.go)
	About   string // for people
}

// Loaders that a machine is told of. Shim itself asks for GRUB and, to enrol a
// key, for MokManager.
const (
	undionly  = "undionly.kpxe"
	ipxePXE   = "ipxe.pxe"
	snponly   = "snponly.efi"
	ipxeX64   = "ipxe-amd64.efi"
	ipxeARM64 = "ipxe-arm64.efi"
	shimX64   = "shimx64.efi"
	shimARM64 = "shimaa64.efi"
	grubBIOS  = "grub-bios.img"
)

// Files are all loaders. When Debian has a newer release that you trust, write
// its sums here: swarmboot loaders fetch names them.
var Files = []File{
	{undionly, "391bfe580ec9f823d046ee390765d6c389f482b9a8b9fae0f90871cd8ff57828", "ipxe", "amd64", "usr/lib/ipxe/undionly.kpxe", "iPXE for BIOS, through the card's own driver"},
	{ipxePXE, "2593429c7c5c9cdd9376206c08dd1752fab23693fbf80a2576f44880c9f9f2fa", "ipxe", "amd64", "usr/lib/ipxe/ipxe.pxe", "iPXE for BIOS, with its own drivers"},
	{snponly, "9a624b4e05ebc25718a7658356628a352532bd278e7a50465a36ab94a7c4e580", "ipxe", "amd64", "usr/lib/ipxe/snponly.efi", "iPXE for UEFI x86-64, through the firmware's driver"},
	{ipxeX64, "6095eb23f4173674a3dc124a2a6d3cdeed514172793306a10d525f57b97cdc6a", "ipxe", "amd64", "usr/lib/ipxe/ipxe-amd64.efi", "iPXE for UEFI x86-64, with its own drivers"},
	{ipxeARM64, "5369815eee98bf98b28a18af9a57207f9096a3b4e542ed3df1eb3f5b28d3d9a9", "ipxe", "amd64", "usr/lib/ipxe/ipxe-arm64.efi", "iPXE for UEFI arm64, with its own drivers"},
	{shimX64, "e103c5d02657879f141b086ed703584d28bb9e2721b423333be085ee1b4d397b", "shim-signed", "amd64", "usr/lib/shim/shimx64.efi.signed", "shim for UEFI x86-64, signed by Microsoft"},
	{"grubx64.efi", "193a143635fa41834232954a9efae4b7c61488cc5025e803ea32deca9c4f9200", "grub-efi-amd64-signed", "amd64", "usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed", "GRUB for UEFI x86-64, signed by Debian"},
	{"mmx64.efi", "30ea13138310f0819c1d875fcf3a6cdce8a1607cfd7578053a2df894a41630ae", "shim-helpers-amd64-signed", "amd64", "usr/lib/shim/mmx64.efi.signed", "MokManager for UEFI x86-64, signed by Debian"},
	{shimARM64, "e5446d2a09dfae3fa476e7635e3d25733afefa3c821932c0684e1f57b60a4744", "shim-signed", "arm64", "usr/lib/shim/shimaa64.efi.signed", "shim for UEFI arm64, signed by Microsoft"},
	{"grubaa64.efi", "9640d7178fbe2ba1de642ef45ee4d0adc5f4baeddb0a71d1697a412bff959a0b", "grub-efi-arm64-signed", "arm64", "usr/lib/grub/arm64-efi-signed/grubnetaa64.efi.signed", "GRUB for UEFI arm64, signed by Debian"},
	{"mmaa64.efi", "5bf3d180f392dd89586441eb12cbcabe23f30519dcb5ad81dcd79a7d454a5b1c", "shim-helpers-arm64-signed", "arm64", "usr/lib/shim/mmaa64.efi.signed", "MokManager for UEFI arm64, signed by Debian"},
	{grubBIOS, "74dab72fd74c37ccdb4d91e8b0409fe48570f855acc61a3d15886af0a0c12b44", "grub-pc-bin", "amd64", "usr/lib/grub/i386-pc", "GRUB for BIOS, on machines' disks"},
	{"copyright-ipxe", "de37481fc590765030c5bdce985d2efa2096b1acefe3c56d74e5472010606a62", "ipxe", "amd64", "usr/share/doc/ipxe/copyright", "licence of iPXE"},
	{"copyright-shim", "9a121b9d67f67de8465483f83614f80d20b24b25eb261eda5b142e54f53a2f82", "shim-signed", "amd64", "usr/share/doc/shim-signed/copyright", "licence of shim and MokManager"},
	{"copyright-grub", "683c1225fe2ce61a206709cc4ff967213b0e080412dedc0fb538d09cddfa6431", "grub-efi-amd64-signed", "amd64", "usr/share/doc/grub-efi-amd64-signed/copyright", "licence of GRUB"},
}
