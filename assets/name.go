package assets

import (
	"path"
	"strings"

	"ravenboot/internal/machine"
)

// mostName is the longest file name that is looked at, in bytes. The file field
// of a DHCP packet holds 127.
const mostName = 255

// autoexecName is what iPXE asks for beside the loader that it was started from
// (ipxe#643).
const autoexecName = "autoexec.ipxe"

// request is what the file name of a TFTP request says.
type request struct {
	name string      // one component; "" for a name that can mean nothing
	mac  machine.MAC // zero where the name doesn't tell
}

// parseName reads a file name as firmware sends it: with leading slashes, with
// backslashes, or with what follows the name in the DHCP packet (netboot.xyz#1198,
// bootimus PR#117), so it ends before the first byte outside printable ASCII.
// Of directories only two kinds say something: a MAC, and an architecture as in
// Fedora's arm64-efi/snponly.efi. Others, .. included, are passed over.
func parseName(raw string) request {
	if end := strings.IndexFunc(raw, func(r rune) bool { return r <= ' ' || r > '~' }); end >= 0 {
		raw = raw[:end]
	}
	if len(raw) > mostName {
		return request{}
	}
	var r request
	dir := ""
	parts := strings.Split(strings.ReplaceAll(raw, `\`, "/"), "/")
	for _, part := range parts[:len(parts)-1] {
		if mac, err := machine.ParseMAC(part); err == nil {
			r.mac = mac
		}
		if part != "" && part != "." && part != ".." {
			dir = part
		}
	}
	base := parts[len(parts)-1]
	if !isPlainName(base) {
		return request{mac: r.mac}
	}
	r.name = base
	if known, ok := aliases[path.Join(dir, base)]; ok && dir != "" {
		r.name = known
	}
	return r
}
