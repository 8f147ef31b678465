package dhcp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"ravenboot/internal/machine"
)

// The vendor classes of boot clients, option 60: PXE 2.1 table 2-1, and UEFI
// 2.10 section 24.7. Replies carry them bare; requests go on with ":Arch:00007:...".
const (
	classPXE  = "PXEClient"
	classHTTP = "HTTPClient"
)

// asker is what a packet says of the machine, and of the program that asks on
// its behalf.
type asker struct {
	machine machine.Machine
	// class is classPXE or classHTTP for a boot client, else "".
	class string
	// clients is what option 93 lists, in its order. It is empty for a boot
	// client that no loader can exist for; then unknown says what it is.
	clients []machine.Client
	unknown string
}

// classify reads options 60, 77, 93, 97 and 175. Option 61, the client
// identifier, is not looked at: it changes between the stages of one boot
// (coreos/bugs#1432), so that a machine would seem to be several.
func classify(r *request) asker {
	a := asker{machine: machine.Machine{MAC: r.mac, UUID: uuidOf(r.options[optMachineID]), Addr: r.ciaddr}}
	ipxe := ipxeOf(r.options)
	class := r.options[optClass]
	switch {
	case bytes.HasPrefix(class, []byte(classHTTP)):
		a.class = classHTTP
	case bytes.HasPrefix(class, []byte(classPXE)), ipxe != nil:
		a.class = classPXE
	default:
		return a
	}
	a.classifyClients(r, ipxe)
	if len(a.clients) > 0 {
		a.machine.Arch, a.machine.Firmware = a.clients[0].Arch, a.clients[0].Firmware
	}
	return a
}

func (a *asker) classifyClients(r *request, ipxe *machine.IPXE) {
	types := r.options[optArch]
	if len(types) < 2 {
		types = typeOfClass(string(r.options[optClass]))
	}
	a.clients = make([]machine.Client, 0, len(types)/2)
	for ; len(types) >= 2 && len(a.clients) < cap(a.clients); types = types[2:] {
		t := binary.BigEndian.Uint16(types)
		client, ok := machine.ClientOfType(t)
		if !ok {
			a.unknown = fmt.Sprintf("no iPXE loader exists for client architecture %d (option 93)", t)
			continue
		}
		// The class says how the file is fetched: some firmware sends an HTTP
		// type with class PXEClient, and the other way round.
		client.HTTP = a.class == classHTTP
		client.IPXE = ipxe
		a.clients = append(a.clients, client)
	}
	if len(a.clients) == 0 && ipxe != nil {
		// An iPXE can run a script whatever it runs on.
		a.clients = append(a.clients, machine.Client{IPXE: ipxe})
	}
}

// typeOfClass is what stands for option 93 where that is missing: the number in
// "PXEClient:Arch:00007:UNDI:003016", else BIOS for PXE (the only kind when the
// option was optional) and x86-64 for HTTP Boot.
func typeOfClass(class string) []byte {
	t := uint16(0)
	if strings.HasPrefix(class, classHTTP) {
		t = 16
	}
	if _, rest, ok := strings.Cut(class, ":Arch:"); ok {
		digits, _, _ := strings.Cut(rest, ":")
		if n, err := strconv.ParseUint(digits, 10, 16); err == nil {
			t = uint16(n)
		}
	}
	return binary.BigEndian.AppendUint16(nil, t)
}

// uuidOf reads option 97: a type, which is 0, and the UUID. Some ROMs send none
// (pixiecore#21), some garbage; neither keeps a machine from booting.
func uuidOf(b []byte) (u machine.UUID) {
	if len(b) == 1+len(u) && b[0] == 0 {
		copy(u[:], b[1:])
	}
	return u
}

// ipxeOf is what an iPXE says of itself, or nil if no iPXE asks. The user class
// alone isn't enough to tell, as a script or an embedded setting can change it.
func ipxeOf(options map[uint8][]byte) *machine.IPXE {
	features, told := options[optIPXE]
	if !told && !isIPXEClass(options[optUserClass]) {
		return nil
	}
	x := &machine.IPXE{Told: told}
	eachOption(features, func(code byte, value []byte) { readFeature(x, code, value) })
	return x
}

// isIPXEClass reads option 77 as iPXE sends it, raw, and as RFC 3004 wants it:
// a list of strings, each after its length (baremetal-operator#446).
func isIPXEClass(b []byte) bool {
	const name = "iPXE"
	if string(bytes.TrimRight(b, "\x00")) == name {
		return true
	}
	for len(b) > 0 && len(b)-1 >= int(b[0]) {
		if string(b[1:1+int(b[0])]) == name {
			return true
		}
		b = b[1+int(b[0]):]
	}
	return false
}

// The features that matter, sub-options of 175 (iPXE, src/include/ipxe/features.h).
const (
	featureHTTP    = 0x13
	featureHTTPS   = 0x14
	featureBzImage = 0x18
	featurePXE     = 0x21
	featureEFI     = 0x24
	featureMenu    = 0x27
	featureVersion = 0xeb
)

func readFeature(x *machine.IPXE, code byte, value []byte) {
	has := len(value) > 0 && value[0] != 0
	switch code {
	case featureHTTP:
		x.HTTP = has
	case featureHTTPS:
		x.HTTPS = has
	case featureBzImage:
		x.BzImage = has
	case featurePXE:
		x.PXE = has
	case featureEFI:
		x.EFI = has
	case featureMenu:
		x.Menu = has
	case featureVersion:
		x.Version = version(value)
	}
}

// version writes 1, 21, 1 as "1.21.1".
func version(b []byte) string {
	const most = 4
	var s []byte
	for i := range min(len(b), most) {
		if i > 0 {
			s = append(s, '.')
		}
		s = strconv.AppendUint(s, uint64(b[i]), 10)
	}
	return string(s)
}
