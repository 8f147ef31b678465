package dhcp

import (
	"fmt"
	"net/netip"
	"strconv"

	"ravenboot/internal/boot"
	"ravenboot/internal/machine"
)

// MaxBootFile is how long a boot file's name or URL may be, in bytes: the field
// file holds 128 with its NUL (RFC 2131 figure 1). Nothing longer is ever cut.
const MaxBootFile = 127

// bootFile is what a machine is told to fetch.
type bootFile struct {
	name  string // in file and option 67: a TFTP name, or a URL
	class string // option 60 of the reply
	// bypass sends option 43, so that PXE takes the file from this reply.
	bypass bool
	// nul ends option 67 with a NUL (netboot.xyz#1198).
	nul bool
}

// bootFileOf turns a decision into a boot file on the server at addr. The error
// says why there can't be one.
func (c *Config) bootFileOf(start *boot.Start, mac machine.MAC, addr netip.Addr) (*bootFile, error) {
	f := &bootFile{class: classPXE, nul: start.NulTerminate}
	if start.Client.HTTP {
		f.class = classHTTP
	}
	f.bypass = f.class == classPXE &&
		(c.EFIOption43 || start.Client.Firmware != machine.EFI || start.Client.IPXE != nil)
	var err error
	f.name, err = c.nameOf(start, mac, addr)
	switch {
	case err != nil:
		return nil, err
	case len(f.name) > MaxBootFile:
		return nil, fmt.Errorf("boot file name of %d bytes, but DHCP's field holds %d; use a shorter loader name", len(f.name), MaxBootFile)
	}
	return f, nil
}

func (c *Config) nameOf(start *boot.Start, mac machine.MAC, addr netip.Addr) (string, error) {
	switch {
	case start.Kind == boot.StartScript && c.HTTPPort == 0:
		return "", fmt.Errorf("boot scripts need HTTP, and [http] listen is empty")
	case start.Kind == boot.StartScript:
		return c.ScriptURL(addr), nil
	case start.Client.HTTP && c.HTTPPort == 0:
		return "", fmt.Errorf("UEFI HTTP Boot needs HTTP, and [http] listen is empty")
	case start.Client.HTTP:
		return urlOf("http", addr, c.HTTPPort, 80) + "/loader/" + loaderPath(mac, start.Loader), nil
	case c.TFTPPort == 0:
		return "", fmt.Errorf("PXE fetches loaders by TFTP, and [tftp] listen is empty")
	case start.Client.IPXE != nil:
		// A whole URL, because an iPXE joins a bare name with whatever server
		// it heard of last.
		return urlOf("tftp", addr, c.TFTPPort, 69) + "/" + loaderPath(mac, start.Loader), nil
	case c.TFTPPort != 69:
		return "", fmt.Errorf("PXE ROMs know TFTP on port 69 only, and [tftp] listen says %d", c.TFTPPort)
	}
	return loaderPath(mac, start.Loader), nil
}

// ScriptURL is where machines that reach the server at addr find their script.
func (c *Config) ScriptURL(addr netip.Addr) string {
	return urlOf("http", addr, c.HTTPPort, 80) + "/boot.ipxe"
}

// loaderPath is a loader's name with the machine in it, so that TFTP and HTTP
// know who asks without an ARP table.
func loaderPath(mac machine.MAC, loader string) string { return mac.Dashed() + "/" + loader }

// urlOf leaves the port out where it is the scheme's own. Addresses are
// literals: firmware hides DNS from iPXE under HTTP Boot (ipxe#1316).
func urlOf(scheme string, addr netip.Addr, port, usual int) string {
	if port == usual {
		return scheme + "://" + addr.String()
	}
	return scheme + "://" + addr.String() + ":" + strconv.Itoa(port)
}
