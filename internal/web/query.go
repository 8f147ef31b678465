package web

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"unicode/utf8"

	"ravenboot/internal/machine"
)

// Query is what a machine says of itself when it asks for its script.
type Query struct {
	Machine machine.Machine
	Entry   string // "" asks for the menu
}

// Bounds of a query: above what any iPXE sends. An entry is a profile's name of
// up to 64 bytes, a number and a specialisation's of up to 255.
const (
	mostMACs   = 16
	mostSerial = 128 // bytes
	mostEntry  = 512 // bytes
)

// ParseQuery reads the parameters of /boot.ipxe. Empty ones count as not
// given, because iPXE expands what it doesn't know to nothing. A query without
// any MAC gives a Machine whose MAC is zero. The error names the parameter.
func ParseQuery(values url.Values, from netip.Addr) (Query, error) {
	// Older iPXE sends a "+" of the menu's as it is, which means a space here.
	// No entry has one in its name.
	entry := strings.ReplaceAll(values.Get("entry"), " ", "+")
	q := Query{Machine: machine.Machine{Addr: from.Unmap(), Serial: readableSerial(values.Get("serial"))}, Entry: entry}
	err := errors.Join(
		q.parseMACs(values["mac"]),
		parseParameter(values, "uuid", machine.ParseUUID, &q.Machine.UUID),
		parseParameter(values, "arch", machine.ParseArch, &q.Machine.Arch),
		parseParameter(values, "platform", machine.ParseFirmware, &q.Machine.Firmware),
	)
	if len(q.Entry) > mostEntry {
		err = errors.Join(err, fmt.Errorf("entry: longer than %d bytes", mostEntry))
	}
	return q, err
}

// parseMACs takes the first address for the NIC that boots, as the scripts
// put it, and the others for the machine's further NICs. iPXE gives what the NICs
// have: InfiniBand's has 20 bytes, an unprogrammed one zeros. Such a neighbour
// must not keep the machine from booting.
func (q *Query) parseMACs(given []string) error {
	if len(given) > mostMACs {
		return fmt.Errorf("mac: given %d times, at most %d are read", len(given), mostMACs)
	}
	var unusable error
	for _, s := range given {
		if s == "" {
			continue
		}
		mac, err := machine.ParseMAC(s)
		_, malformed := net.ParseMAC(s)
		switch {
		case err != nil && malformed != nil:
			return fmt.Errorf("mac: %w", err)
		case err != nil:
			unusable = fmt.Errorf("mac: %w", err)
		case q.Machine.MAC.IsZero():
			q.Machine.MAC = mac
		case mac != q.Machine.MAC:
			q.Machine.Others = append(q.Machine.Others, mac)
		}
	}
	if q.Machine.MAC.IsZero() {
		return unusable
	}
	return nil
}

func parseParameter[T any](values url.Values, name string, parse func(string) (T, error), to *T) error {
	s := values.Get(name)
	if s == "" {
		return nil
	}
	value, err := parse(s)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	*to = value
	return nil
}

// readableSerial leaves out a serial number that can't be kept: boards come with
// 0xFF bytes or whole sentences there, it decides nothing, and an error would
// keep the machine from its script for ever.
func readableSerial(s string) string {
	if len(s) > mostSerial || !utf8.ValidString(s) {
		return ""
	}
	return s
}
