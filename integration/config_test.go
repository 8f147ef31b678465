//go:build boots

package integration

import (
	"fmt"
	"strings"
	"testing"

	"ravenboot/integration/fixture"
)

// Parts of configurations. No table is in two of those that a test joins.
const (
	// dhcpServer makes ravenboot the network's only DHCP server.
	dhcpServer = `
[dhcp]
mode = "server"
[[dhcp.subnet]]
network = "192.0.2.0/24"
range = ["192.0.2.100", "192.0.2.200"]
`
	// dhcpServerChainload makes it hand its loader to every iPXE, too.
	dhcpServerChainload = `
[dhcp]
mode = "server"
chainload = "always"
[[dhcp.subnet]]
network = "192.0.2.0/24"
range = ["192.0.2.100", "192.0.2.200"]
`
	dhcpProxy = `
[dhcp]
mode = "proxy"
`
	dhcpOff = `
[dhcp]
mode = "off"
`
	// quickMenu boots the default soon, and slowMenu waits for keys.
	quickMenu = `
[menu]
title = "Integration Lab"
timeout = "2s"
`
	slowMenu = `
[menu]
title = "Integration Lab"
timeout = "10m"
`
	// forEveryone gives machines without a [[host]] the lab's menu.
	forEveryone = `
[default]
action = "menu"
profile = "lab"
`
	// services is the rest, at the ports that firmware expects.
	services = `
[tftp]
listen = ":69"
[http]
listen = ":80"
[admin]
listen = "127.0.0.1:9080"
`
)

func config(parts ...string) string { return services + strings.Join(parts, "\n") }

// loaders makes the server take its loaders from one Debian release.
func loaders(t *testing.T, release fixture.Loaders) string {
	t.Helper()
	dirs, err := release.Dirs()
	check(t, err)
	return fmt.Sprintf("[loaders]\ndirs = [\"%s\"]\n", strings.Join(dirs, `", "`))
}

// host is a machine that the configuration names, with further settings.
func host(name, mac string, settings ...string) string {
	return fmt.Sprintf("[[host]]\nname = %q\nmac = [%q]\nprofile = \"lab\"\n%s\n", name, mac, strings.Join(settings, "\n"))
}
