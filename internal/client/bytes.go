package client

import "fmt"

// Bytes writes a number of bytes for people.
func Bytes(n int64) string {
	kilobytes := (max(n, 0) + 500) / 1e3
	switch {
	case kilobytes >= 1e6:
		return fmt.Sprintf("%.1f GB", float64(n)/1e9)
	case kilobytes >= 1e3:
		return fmt.Sprintf("%d MB", (kilobytes+500)/1e3)
	}
	return fmt.Sprintf("%d kB", kilobytes)
}
