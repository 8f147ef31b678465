package bootscript

import "strconv"

// OnFailure is what a script does once its rounds of retries are used up.
type OnFailure string

// The ways out.
const (
	Retry   OnFailure = "retry" // begin again
	ToLocal OnFailure = "local" // boot the local disk
	ToMenu  OnFailure = "menu"  // back to the menu
)

// LocalBoot is how a script hands over to the local disk.
type LocalBoot string

// The ways to the local disk.
const (
	LocalAuto    LocalBoot = "auto"    // by the platform: exit on EFI, sanboot on BIOS
	LocalExit    LocalBoot = "exit"    // back to the firmware, which goes on with its next boot entry
	LocalSanboot LocalBoot = "sanboot" // the BIOS's first drive
)

// Fallback is what all scripts have in common: what to do about failures.
type Fallback struct {
	Rounds    int // tries before OnFailure; 10 if zero
	OnFailure OnFailure
	Local     LocalBoot
	Menu      string // URL of the machine's menu; "" makes ToMenu a Retry
}

const defaultRounds = 10

// Pauses between rounds, in seconds: they double from the first to the last.
const (
	firstPause = 2
	lastPause  = 32
)

// linkWait is how long a script waits for the link to come back before it
// tries again, in milliseconds: a switch port under spanning tree is deaf for
// 30 s after the link was down (ipxe#1337).
const linkWait = 30000

// waitForLink waits on the NIC that boots, by name. Without a name, iflinkwait
// goes through all NICs and stops at the first with a link: it spends 30 s on
// each that has none, and makes the one that it finds netX, so that the machine
// gives the wrong MAC from then on (both seen with iPXE of 2025). It closes a
// NIC whose link stays down, and then netX is nothing, so the name is kept; the
// next round opens the NIC again. iPXE before January 2021 has no iflinkwait,
// says so, and goes on.
func (s *script) waitForLink() {
	s.add("isset ${netX/ifname} && set nic ${netX/ifname} ||\niflinkwait --timeout ")
	s.number(linkWait)
	s.add(" ${nic} ||\n")
}

// script gathers the lines of a script. Its skeleton is
//
//	:restart    counters are set
//	:attempt    the script's own lines; what fails goes to failed
//	:failed     says so, pauses, goes to attempt
//	:give_up    after the last round: OnFailure, then restart
//
// Every pause ends in "||", because Ctrl-C makes sleep fail, and a line that
// fails ends the script.
type script struct{ text []byte }

func (s *script) add(parts ...string) {
	for _, part := range parts {
		s.text = append(s.text, part...)
	}
}

func (s *script) number(n int) { s.text = strconv.AppendInt(s.text, int64(n), 10) }

func (s *script) begin() {
	s.add("#!ipxe\n:restart\nset round:int32 1\nset pause:int32 ")
	s.number(firstPause)
	s.add("\n:attempt\n")
}

// orFailed ends a line whose failure is to be told as what: words without
// anything that iPXE would read as syntax.
func (s *script) orFailed(what string) {
	s.add(" || set what ", what, " ||\nisset ${what} && goto failed ||\n")
}

// end adds what follows a failure. The errno is iPXE's own; the page
// https://ipxe.org/ERRNO explains it.
func (s *script) end(f *Fallback) {
	rounds := f.Rounds
	if rounds <= 0 {
		rounds = defaultRounds
	}
	s.add(":failed\necho\necho FAILED: ${what} (error ${errno:hexraw}, try ${round} of ")
	s.number(rounds)
	s.add(")\nclear what ||\niseq ${round} ")
	s.number(rounds)
	s.add(" && goto give_up ||\necho Trying again in ${pause} seconds\nsleep ${pause} ||\ninc round\niseq ${pause} ")
	s.number(lastPause)
	s.add(" || inc pause ${pause}\n")
	s.waitForLink()
	s.add("goto attempt\n:give_up\n")
	switch {
	case f.OnFailure == ToLocal:
		s.add("echo Giving up after ${round} tries: booting the local disk\nsleep 2 ||\n")
		s.local(f.Local)
	case f.OnFailure == ToMenu && f.Menu != "":
		s.add("echo Giving up after ${round} tries: back to the menu\nsleep 2 ||\nchain --replace --autofree ", f.Menu, " ||\n")
	default:
		s.add("echo ${round} tries have failed: beginning again\nsleep ")
		s.number(lastPause)
		s.add(" ||\n")
	}
	s.add("goto restart\n")
}

// local boots the local disk; lines that follow are reached when there is none.
// On EFI, exit with a status other than 0 makes the firmware go on with its
// next boot entry, where exit 0 may end in its set-up (netboot.xyz#1276).
func (s *script) local(how LocalBoot) {
	switch how {
	case LocalExit:
		s.add("exit 1\n")
		return
	case LocalSanboot:
	default:
		s.add("iseq ${platform} efi && exit 1 ||\n")
	}
	s.add("sanboot --no-describe --drive 0x80 ||\necho The local disk could not be booted\nsleep 5 ||\n")
}
