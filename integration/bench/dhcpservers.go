package main

import (
	"fmt"
	"path/filepath"
)

func (b *bench) ravenbootDHCP(space, dir string) (*process, error) {
	config, err := b.lab(1, 80, fmt.Sprintf(`[server]
interface = "eth0"
state_dir = %q
[dhcp]
mode = "server"
[[dhcp.subnet]]
network = %q
range = [%q, %q]
lease = "1h"
[tftp]
listen = ""
`, filepath.Join(dir, "state"), dhcpNetwork, firstAddr, lastAddr))
	if err != nil {
		return nil, err
	}
	return b.serve(space, config)
}

func (b *bench) kea(space, dir string, threads bool) (*process, error) {
	config, err := write(dir, "kea.json", fmt.Sprintf(`{"Dhcp4": {
 "interfaces-config": {"interfaces": ["eth0"], "dhcp-socket-type": "udp"},
 "lease-database": {"type": "memfile", "persist": true, "name": "%s/leases.csv", "lfc-interval": 0},
 "multi-threading": {"enable-multi-threading": %t},
 "valid-lifetime": 3600,
 "subnet4": [{"id": 1, "subnet": "%s", "pools": [{"pool": "%s - %s"}]}],
 "loggers": [{"name": "kea-dhcp4", "severity": "WARN", "output_options": [{"output": "stdout"}]}]}}`,
		dir, threads, dhcpNetwork, firstAddr, lastAddr))
	if err != nil {
		return nil, err
	}
	return b.start(space, "kea-dhcp4", "-c", config)
}

func (b *bench) dnsmasq(space, dir string) (*process, error) {
	return b.start(space, "dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--port=0", "--pid-file=", "--user=root", "--group=root",
		"--dhcp-range="+firstAddr+","+lastAddr+",1h", "--dhcp-lease-max=30000", "--dhcp-authoritative", "--no-ping", "--quiet-dhcp",
		"--dhcp-leasefile="+dir+"/leases")
}
