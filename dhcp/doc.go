// Package dhcp is packets in, packets out: DHCPv4 (RFC 2131), proxyDHCP and
// PXE's port 4011 (PXE 2.1), relays (RFC 1542, 3046), and what firmware does
// differently from all of these.
//
// A packet is read together with the interface that it came in on, parsed,
// classified into a machine and what asks on its behalf, decided upon by
// internal/boot, answered by a pure function, and sent from the interface that
// it came in on. Server.Handle is that path without sockets.
//
// The package knows packets, boot file names and URLs, and asks dhcp/lease for
// addresses. It must not know menus, generations, the store or what a boot
// script says.
package dhcp
