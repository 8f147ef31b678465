package main

import (
	"fmt"
	"path/filepath"
	"strings"
)

const generations = 20

// lab is a configuration of 1,000 hosts and a profile of some generations.
func (b *bench) lab(generations, httpPort int, more string) (config string, err error) {
	dir := b.subdir()
	for n := 1; n <= generations; n++ {
		place := filepath.Join("profiles", fmt.Sprintf("lab-%d-link", n))
		for name, text := range map[string]string{
			"kernel": "kernel", "initrd": "initrd",
			"boot.json": fmt.Sprintf(`{"org.nixos.bootspec.v1": {"system": "x86_64-linux", "label": "NixOS Yarara 26.05.%d (Linux 6.18)",
 "kernelParams": ["loglevel=4", "root=fstab"], "init": "/nix/store/x-%d/init", "toplevel": "/nix/store/x-%d", "kernel": "/k", "initrd": "/i"}}`, n, n, n),
		} {
			if _, err := write(dir, filepath.Join(place, name), text); err != nil {
				return "", err
			}
		}
	}
	var hosts strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&hosts, "[[host]]\nname = \"pc-%d\"\nmac = [%q]\nprofile = \"lab\"\n", i, mac(i))
	}
	text := fmt.Sprintf(`[http]
listen = "127.0.0.1:%d"
max_transfers = 256
[admin]
listen = ""
[menu]
title = "Bench"
[[profile]]
name = "lab"
path = "profiles/lab"
keep = 0
%s
%s`, httpPort, more, hosts.String())
	return write(dir, "ravenboot.toml", text)
}

const off = "[server]\nstate_dir = \"state\"\n[dhcp]\nmode = \"off\"\n[tftp]\nlisten = \"\"\n"

func mac(i int) string { return fmt.Sprintf("02:00:00:00:%02x:%02x", i>>8, i&0xff) }

// serve starts ravenboot with a configuration.
func (b *bench) serve(space, config string) (*process, error) {
	return b.start(space, b.ravenboot, "serve", "-config", config)
}
