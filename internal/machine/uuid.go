package machine

import (
	"encoding/hex"
	"fmt"
	"strings"
)

// UUID is a machine's SMBIOS UUID, in the byte order in which it is printed.
// The zero value means "not known".
type UUID [16]byte

// ParseUUID reads the usual spelling with dashes, in either case.
func ParseUUID(s string) (UUID, error) {
	var u UUID
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return UUID{}, uuidError(s)
	}
	digits := strings.ReplaceAll(s, "-", "")
	if n, err := hex.Decode(u[:], []byte(digits)); err != nil || n != len(u) {
		return UUID{}, uuidError(s)
	}
	return u, nil
}

func uuidError(s string) error {
	const most = 48
	if len(s) > most {
		s = s[:most] + "..."
	}
	return fmt.Errorf("%q is no UUID; write it as 4c4c4544-0042-3510-8052-b4c04f4d3432", s)
}

// IsKnown reports whether the UUID tells machines apart: boards without one
// say all zeros or all ones (SMBIOS 3.6, 7.2.1).
func (u UUID) IsKnown() bool {
	zeros, ones := true, true
	for _, b := range u {
		zeros = zeros && b == 0
		ones = ones && b == 0xff
	}
	return !zeros && !ones
}

// Swapped is the same UUID with its first three fields in the other byte
// order. SMBIOS stores them little-endian since 2.6; firmware differs in
// whether option 97 and its own screens show them swapped, so a comparison
// must try both.
func (u UUID) Swapped() UUID {
	u[0], u[1], u[2], u[3] = u[3], u[2], u[1], u[0]
	u[4], u[5] = u[5], u[4]
	u[6], u[7] = u[7], u[6]
	return u
}

// String is the lower-case spelling with dashes.
func (u UUID) String() string {
	h := hex.EncodeToString(u[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// MarshalText makes a UUID print as String does in JSON and logs.
func (u UUID) MarshalText() ([]byte, error) { return []byte(u.String()), nil }
