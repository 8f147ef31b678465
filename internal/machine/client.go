package machine

// Client is the program that asks for a boot file on a machine's behalf at
// this moment: a PXE ROM, UEFI's HTTP Boot, or an iPXE.
type Client struct {
	Firmware Firmware
	Arch     Arch
	// HTTP is set when the client fetches its boot file by HTTP (UEFI HTTP
	// Boot, option 60 HTTPClient); else it is by TFTP.
	HTTP bool
	// IPXE is nil when the client is no iPXE.
	IPXE *IPXE
}

// IPXE is what an iPXE tells of itself in its encapsulated options (DHCP
// option 175; src/include/ipxe/features.h).
type IPXE struct {
	HTTP, HTTPS, Menu, BzImage, EFI, PXE bool
	Version                              string // "1.21.1", or ""
	// Told is false when the client called itself iPXE but sent no option
	// 175, so that nothing is known of what it can do.
	Told bool
}

// RunsOurScripts reports whether this iPXE can do what a boot script asks of
// it, and if not, what it lacks. Scripts need HTTP and menus, and a way to
// start a Linux kernel: bzImage support in a BIOS build, EFI images in an EFI
// build, which has no bzImage feature of its own (danderson/netboot#55).
func (x *IPXE) RunsOurScripts() (ok bool, lacks string) {
	switch {
	case !x.Told:
		return false, "a list of its features (option 175)"
	case !x.HTTP:
		return false, "HTTP"
	case !x.Menu:
		return false, "menus"
	case !x.EFI && !x.BzImage:
		return false, "Linux kernels (bzImage)"
	}
	return true, ""
}
