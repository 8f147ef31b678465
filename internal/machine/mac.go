package machine

import (
	"encoding/hex"
	"fmt"
	"strings"
)

// MAC is a 48-bit Ethernet address. The zero value means "not known".
type MAC [6]byte

// ParseMAC reads a MAC in any usual spelling: 52:54:00:12:34:56,
// 52-54-00-12-34-56, 5254.0012.3456 or 525400123456, in either case, and the
// pxelinux form with the hardware type in front, 01-52-54-00-12-34-56.
func ParseMAC(s string) (MAC, error) {
	var digits [14]byte
	n := 0
	for i := range len(s) {
		c := s[i]
		switch {
		case c == ':' || c == '-' || c == '.':
			if i == 0 || i == len(s)-1 || isSeparator(s[i-1]) {
				return MAC{}, macError(s)
			}
			continue
		case n == len(digits):
			return MAC{}, macError(s)
		}
		digits[n] = c
		n++
	}
	hexDigits := digits[:n]
	if n == 14 && digits[0] == '0' && digits[1] == '1' {
		hexDigits = digits[2:14]
	}
	var m MAC
	if len(hexDigits) != 12 {
		return MAC{}, macError(s)
	}
	if _, err := hex.Decode(m[:], hexDigits); err != nil {
		return MAC{}, macError(s)
	}
	if m.IsZero() {
		return MAC{}, fmt.Errorf("MAC address %q is all zeros", s)
	}
	return m, nil
}

func isSeparator(c byte) bool { return c == ':' || c == '-' || c == '.' }

func macError(s string) error {
	const most = 32
	if len(s) > most {
		s = s[:most] + "..."
	}
	return fmt.Errorf("%q is no MAC address; write it as 52:54:00:12:34:56", s)
}

// IsZero reports whether the address is not known.
func (m MAC) IsZero() bool { return m == MAC{} }

// String is the project's spelling: lower case with colons.
func (m MAC) String() string { return string(m.append(make([]byte, 0, macLen), ':')) }

// Dashed is the spelling used in file names: lower case with dashes.
func (m MAC) Dashed() string { return string(m.append(make([]byte, 0, macLen), '-')) }

// BOOTIF is the value of pxelinux's BOOTIF argument: the hardware type of
// Ethernet, then the address, with dashes.
func (m MAC) BOOTIF() string { return "01-" + m.Dashed() }

// MarshalText makes a MAC print as String does in JSON and logs.
func (m MAC) MarshalText() ([]byte, error) { return m.append(nil, ':'), nil }

// UnmarshalText reads what ParseMAC reads.
func (m *MAC) UnmarshalText(text []byte) (err error) {
	*m, err = ParseMAC(string(text))
	return err
}

// macLen is the length of an address with separators, in bytes.
const macLen = len("52:54:00:12:34:56")

// append is written out because it runs for every group at every DHCP packet.
func (m MAC) append(dst []byte, separator byte) []byte {
	const digits = "0123456789abcdef"
	for i, b := range m {
		if i > 0 {
			dst = append(dst, separator)
		}
		dst = append(dst, digits[b>>4], digits[b&0xf])
	}
	return dst
}

// MACPattern matches addresses that begin with certain digits: 52:54:00:*
// names a vendor's range, a whole address only itself, * everything.
type MACPattern struct {
	prefix string
	whole  bool
}

// ParseMACPattern reads a MAC, or the beginning of one followed by *.
func ParseMACPattern(s string) (MACPattern, error) {
	prefix, open := strings.CutSuffix(s, "*")
	if !open {
		m, err := ParseMAC(s)
		return MACPattern{prefix: m.String(), whole: true}, err
	}
	prefix = strings.ToLower(strings.ReplaceAll(prefix, "-", ":"))
	for i := range len(prefix) {
		digit := strings.IndexByte("0123456789abcdef", prefix[i]) >= 0
		if colon := i%3 == 2; colon != (prefix[i] == ':') || !colon && !digit || i >= len("52:54:00:12:34:56") {
			return MACPattern{}, fmt.Errorf("%q is no MAC pattern; write it as 52:54:00:*", s)
		}
	}
	return MACPattern{prefix: prefix}, nil
}

// Match reports whether m fits the pattern.
func (p MACPattern) Match(m MAC) bool {
	var text [macLen]byte
	return !m.IsZero() && strings.HasPrefix(string(m.append(text[:0], ':')), p.prefix)
}

// String is the pattern as it is written in the configuration.
func (p MACPattern) String() string {
	if p.whole {
		return p.prefix
	}
	return p.prefix + "*"
}
