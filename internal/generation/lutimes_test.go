package generation

import (
	"time"

	"golang.org/x/sys/unix"
)

// lutimes sets the time of a link itself.
func lutimes(link string, date time.Time) error {
	tv := unix.NsecToTimeval(date.UnixNano())
	return unix.Lutimes(link, []unix.Timeval{tv, tv})
}
