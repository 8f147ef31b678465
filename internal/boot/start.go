package boot

import (
	"fmt"
	"strings"

	"ravenboot/internal/machine"
)

// Request is a machine's question for its boot file, by DHCP.
type Request struct {
	Machine machine.Machine
	// Clients is what option 93 lists, in its order; at least one.
	Clients []machine.Client
	// Handed is how many other DHCP exchanges of the last two minutes gave this
	// machine a loader, whether its firmware asked or an iPXE.
	Handed int
}

// Start is the answer to a Request.
type Start struct {
	Kind   StartKind
	Loader string         // file name, of StartLoader
	Client machine.Client // the one of the request's clients that the answer is for
	// NulTerminate asks for a NUL at the end of option 67.
	NulTerminate bool
	Reason       string // why, for the log and the administrator
}

// StartKind is what sort of boot file a machine gets.
type StartKind int

// The kinds of Start.
const (
	StartNothing StartKind = iota // no boot file; Reason says why
	StartLoader                   // an iPXE loader
	StartScript                   // the address of the boot script
)

// String names the kind for logs.
func (k StartKind) String() string {
	return [...]string{"refused", "loader", "script"}[k]
}

// handedOnceTooOften is the number of loaders handed to one machine within two
// minutes after which another iPXE is taken for a loop (ipxe#908, ipxe#913). A
// boot of ours needs one, or two if its ROM is an iPXE that lacks something; a
// third may be a machine that was reset at once.
const handedOnceTooOften = 3

// Start decides the boot file for a DHCP request.
func (d *Decider) Start(r Request) Start {
	rules := d.rules.Load()
	r.Machine.Arch, r.Machine.Firmware = r.Clients[0].Arch, r.Clients[0].Firmware
	s := rules.subjectOf(r.Machine)
	if s.action == ActionIgnore {
		return Start{Client: r.Clients[0], Reason: `unknown machine, and [default] says action = "ignore"`}
	}
	answer := d.startOf(&s, r)
	answer.NulTerminate = s.NulTerminate != nil && *s.NulTerminate
	answer.Reason = s.describe() + "; " + answer.Reason
	return answer
}

func (d *Decider) startOf(s *subject, r Request) Start {
	if ipxe := r.Clients[0].IPXE; ipxe != nil {
		if why, direct := scriptForIPXE(s.Chainload, ipxe, r.Handed); direct {
			return Start{Kind: StartScript, Client: r.Clients[0], Reason: why}
		}
	}
	return d.loaderFor(s, r.Clients)
}

// scriptForIPXE says whether an iPXE gets the script at once, rather than a
// loader of ours.
func scriptForIPXE(c Chainload, x *machine.IPXE, handed int) (why string, direct bool) {
	able, lacks := x.RunsOurScripts()
	switch {
	case c == ChainloadNever:
		return `it is iPXE, and chainload = "never"`, true
	case c == ChainloadAlways && handed > 0:
		return `it is iPXE and was handed our loader within the last two minutes (chainload = "always")`, true
	case c == ChainloadAlways:
		return "", false
	case able:
		return "its iPXE has what boot scripts need", true
	case handed >= handedOnceTooOften:
		return fmt.Sprintf("loop: it was handed a loader %d times within two minutes and comes back as an iPXE that lacks %s; "+
			"trying the script all the same. Check that the loader in [loaders] is a full iPXE build", handed, lacks), true
	}
	return "", false
}

// loaderFor picks the first loader that exists, over all the client's
// architectures in their order.
func (d *Decider) loaderFor(s *subject, clients []machine.Client) Start {
	var missing []string
	for _, client := range clients {
		if client.Firmware == clients[0].Firmware && client.Arch == clients[0].Arch {
			client.Arch, client.Firmware = s.machine.Arch, s.machine.Firmware
		}
		for _, name := range s.loaderNames(client) {
			if d.loaders.Has(name) {
				return Start{Kind: StartLoader, Loader: name, Client: client, Reason: loaderReason(s, client, name)}
			}
			missing = append(missing, name)
		}
	}
	return Start{Client: clients[0], Reason: noLoaderReason(s.machine, missing)}
}

func (s *subject) loaderNames(c machine.Client) []string {
	if s.Loader != "" {
		return []string{s.Loader}
	}
	return LoaderNames(c.Firmware, c.Arch)
}

func loaderReason(s *subject, c machine.Client, name string) string {
	switch {
	case s.Loader != "":
		return fmt.Sprintf("loader = %q is set for it", name)
	case c.IPXE != nil:
		_, lacks := c.IPXE.RunsOurScripts()
		if lacks == "" {
			return fmt.Sprintf(`it is iPXE, and chainload = "always" gives it %s`, name)
		}
		return fmt.Sprintf("its iPXE lacks %s, so it gets %s", lacks, name)
	}
	return fmt.Sprintf("%s is the loader for %s %s", name, c.Firmware, c.Arch)
}

func noLoaderReason(m machine.Machine, missing []string) string {
	switch {
	case m.Firmware == machine.RaspberryPi:
		return "a Raspberry Pi's ROM can't load iPXE; put the Pi's UEFI firmware on its card and set arch and firmware for it"
	case len(missing) == 0:
		return fmt.Sprintf("no iPXE loader exists for %s on %s", m.Firmware, m.Arch)
	}
	return fmt.Sprintf("no loader for %s on %s: none of %s is in the loader directories; run `ravenboot check`",
		m.Firmware, m.Arch, strings.Join(missing, ", "))
}
