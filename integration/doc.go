// Package integration boots whole machines, in QEMU, from the ravenboot binary
// that an administrator would run, beside the real DHCP servers, relays and
// firmware of the field. Each boot ends in what the booted machine itself says.
//
// The boots take minutes, so they are behind the build tag "boots":
//
//	go test -tags boots -v -timeout 40m ./integration
//
// They run as root, or as an ordinary user in a user namespace. See
// lab.Lab for the network, and fixture for what is served.
package integration
