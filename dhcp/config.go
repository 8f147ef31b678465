package dhcp

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"ravenboot/dhcp/lease"
	"ravenboot/internal/boot"
	"ravenboot/internal/machine"
)

// Mode is what the server does on its networks.
type Mode string

// The modes.
const (
	ModeProxy  Mode = "proxy"  // boot files beside another DHCP server, never an address
	ModeServer Mode = "server" // addresses and boot files
	ModeOff    Mode = "off"    // no DHCP at all
)

// Decider is asked for a machine's boot file at every packet of a boot client,
// and for its host at every packet that wants an address. It must answer from
// memory. Host is nil for a machine that the configuration doesn't name.
type Decider interface {
	Start(boot.Request) boot.Start
	Host(machine.Machine) *boot.Host
}

// Addresses hands out leases; *lease.Pool is the one that is used. It is asked
// by mode server only.
type Addresses interface {
	// Subnet is the subnet whose network holds the address, or nil.
	Subnet(link netip.Addr) *lease.Subnet
	// Offer reserves an address for a DISCOVER. It may take up to 300 ms, while
	// it asks whether the address is in use. Another packet of the same machine
	// in this time is lease.ErrInProgress.
	Offer(ctx context.Context, subnet *lease.Subnet, mac machine.MAC, fixed, requested netip.Addr) (lease.Lease, error)
	// Confirm grants addr for a REQUEST, and returns once the lease is durable.
	// The error is lease.ErrNotYours or lease.ErrUnknown where the client, not
	// the server, is mistaken.
	Confirm(ctx context.Context, subnet *lease.Subnet, mac machine.MAC, fixed, addr netip.Addr) (lease.Lease, error)
	// Decline sets an address aside that its client found in use.
	Decline(mac machine.MAC, addr netip.Addr)
	// Release takes a lease back.
	Release(mac machine.MAC, addr netip.Addr)
}

var _ Addresses = (*lease.Pool)(nil)

// Config is what the administrator decides.
type Config struct {
	Mode Mode
	// Interfaces to listen on, by name. Empty: every Ethernet interface that is
	// up and has an IPv4 address when Run starts.
	Interfaces []string
	// Port is the server's port, 67 if zero; clients are answered on the one
	// above it. ProxyPort is PXE's 4011 if zero.
	Port, ProxyPort int

	// Address, if valid, is told to machines instead of the address that they
	// reached: in siaddr, option 54 and every URL.
	Address netip.Addr
	// HTTPPort and TFTPPort are where boot files are served; 0 means not at all.
	HTTPPort, TFTPPort int
	// EFIOption43 sends UEFI's PXE option 43 with "take the file from this
	// offer" (PXE 2.1, discovery control bit 3). OVMF and the iPXE ROMs accept
	// it. Some firmware ignores an offer that has it, as pixiecore found;
	// without it, UEFI asks again on port 4011.
	EFIOption43 bool

	// Observe is told each packet's message and what became of it, for metrics.
	Observe func(message, result string)
}

// defaultPort is the BOOTP server's port, RFC 2131 section 4.1; defaultProxyPort
// is PXE's, PXE 2.1 section 2.2.
const (
	defaultPort      = 67
	defaultProxyPort = 4011
)

// complete fills in what was left out, and refuses what can't work.
func (c Config) complete() (Config, error) {
	if c.Port == 0 {
		c.Port = defaultPort
	}
	if c.ProxyPort == 0 {
		c.ProxyPort = defaultProxyPort
	}
	if c.Observe == nil {
		c.Observe = func(string, string) {}
	}
	switch {
	case c.Mode != ModeProxy && c.Mode != ModeServer && c.Mode != ModeOff:
		return c, fmt.Errorf("dhcp: mode %q: want %q, %q or %q", c.Mode, ModeProxy, ModeServer, ModeOff)
	case c.Address.IsValid() && !c.Address.Is4():
		return c, fmt.Errorf("dhcp: server address %v: DHCPv4 needs an IPv4 address", c.Address)
	case c.Port < 0 || c.Port > 65534 || c.ProxyPort < 0 || c.ProxyPort > 65535 || c.Port == c.ProxyPort:
		return c, fmt.Errorf("dhcp: ports %d and %d: want two different ports below 65535", c.Port, c.ProxyPort)
	}
	return c, nil
}

// sameSockets reports whether the sockets of one serve the other.
func (c *Config) sameSockets(other *Config) bool {
	return c.Port == other.Port && c.ProxyPort == other.ProxyPort &&
		slices.Equal(c.Interfaces, other.Interfaces) && (c.Mode == ModeOff) == (other.Mode == ModeOff)
}

// clientPort is 68 beside 67. The pair stays together when the server's port is
// moved, as in other DHCP servers and clients that can do so.
func (c *Config) clientPort() uint16 { return uint16(c.Port + 1) }
