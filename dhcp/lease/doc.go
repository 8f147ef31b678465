// Package lease hands out IPv4 addresses: subnets, ranges, offers, leases. It
// knows addresses and machines by their MAC; it must not know packets, sockets
// other than the one it pings with, or what a machine boots.
package lease
