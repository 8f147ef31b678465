// Package integration boots whole machines, in QEMU, from the ravenboot binary
// that an administrator would run, beside the real DHCP servers, relays and
// firmware of the field. Each boot ends in what the booted machine itself says.
//
// The boots take minutes, so they are behind the build tag "boots":
//
//	go test -tags boots -v -timeout 40m ./integration
//
// They run as root, or as an ordinary user under scripts/as-root.sh, two
// machines at a time, and end with a table of all boots. RAVENBOOT_BIN names
// the binary to test instead of building one; RAVENBOOT_ARTIFACTS names a
// directory that keeps each test's configuration, logs, console transcripts,
// and pictures of the screens of machines that failed.
//
// BenchmarkPowerOn boots beside an image of the whole system, and prints how long
// each takes.
//
// See lab.Lab for the network and the machines, and package fixture for what
// they are served.
package integration
