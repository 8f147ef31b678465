package layout

import (
	"fmt"
	"strconv"
	"strings"
)

var units = map[string]uint64{"": 1, "K": kib, "M": mib, "G": gib, "T": tib, "KiB": kib, "MiB": mib, "GiB": gib, "TiB": tib}

// maxSize leaves room to add sizes up without a look at overflows.
const maxSize = 1 << 56

// parseSize reads sizes as 512M, 20GiB. Units are powers of 1024, as those of
// lsblk and sfdisk are; GB isn't taken, because it would be another size on the
// label of a disk than it is here.
func parseSize(text string) (uint64, error) {
	digits := strings.TrimRightFunc(text, func(r rune) bool { return r < '0' || r > '9' })
	unit, ok := units[text[len(digits):]]
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || !ok {
		return 0, fmt.Errorf("%s is not a size; write it as 512M, 20G or 2T, in powers of 1024", quoted(text))
	}
	if n == 0 || n > maxSize/unit {
		return 0, fmt.Errorf("%s is out of range", quoted(text))
	}
	return n * unit, nil
}

// sizeText is short where a size is round, and else shows by its fraction that
// it isn't.
func sizeText(n uint64) string {
	switch {
	case n >= tib && n%tib == 0:
		return fmt.Sprintf("%dT", n/tib)
	case n >= gib && n%gib == 0:
		return fmt.Sprintf("%dG", n/gib)
	case n%mib == 0:
		return fmt.Sprintf("%dM", n/mib)
	case n >= 100*gib:
		return fmt.Sprintf("%.1fG", float64(n)/gib)
	case n >= mib:
		return fmt.Sprintf("%.1fM", float64(n)/mib)
	}
	return fmt.Sprintf("%dB", n)
}
