package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// peer is a program beside ravenboot: the Debian package that has it, and the
// arguments that make it print its version.
type peer struct {
	debian  string
	version []string
}

var peers = map[string]peer{
	"ip":         {debian: "iproute2"},
	"dnsmasq":    {debian: "dnsmasq-base", version: []string{"--version"}},
	"kea-dhcp4":  {debian: "kea-dhcp4-server", version: []string{"-v"}},
	"in.tftpd":   {debian: "tftpd-hpa", version: []string{"-V"}},
	"nix":        {debian: "nix-bin", version: []string{"--version"}},
	"nix-store":  {debian: "nix-bin"},
	"mkfs.ext4":  {debian: "e2fsprogs"},
	"mksquashfs": {debian: "squashfs-tools", version: []string{"-version"}},
	"curl":       {debian: "curl", version: []string{"--version"}},
	"nginx":      {debian: "nginx-light", version: []string{"-v"}},
}

// missing says how to get the program, or nil if it is there.
func (p peer) missing(program string) error {
	if _, err := exec.LookPath(program); err != nil {
		return fmt.Errorf("%s is missing: apt-get install --no-install-recommends %s", program, p.debian)
	}
	return nil
}

// describe prints what the figures depend on.
func (b *bench) describe() {
	fmt.Printf("%d rounds, turns of %v; load average at the start %s\n\n", b.rounds, b.turn(), loadAverage())
	fmt.Printf("- %s\n- Linux %s\n", processors(), firstLine("uname", "-r"))
	fmt.Printf("- ravenboot: %s\n", firstLine(b.ravenboot, "version"))
	for _, program := range []string{"dnsmasq", "kea-dhcp4", "in.tftpd", "nginx", "curl", "nix", "mksquashfs"} {
		fmt.Printf("- %s: %s\n", program, firstLine(program, peers[program].version...))
	}
}

// firstLine is the first that a program prints.
func firstLine(program string, args ...string) string {
	out, err := exec.Command(program, args...).CombinedOutput()
	if err != nil {
		return err.Error()
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return line
}

// nginx starts nginx with two workers and a location.
func (b *bench) nginx(port int, location string) (*process, error) {
	dir := b.subdir()
	config, err := write(dir, "nginx.conf", fmt.Sprintf(`daemon off; worker_processes 2; pid %[1]s/pid; error_log %[1]s/error.log;
events { worker_connections 1024; }
http { access_log %[1]s/access.log; sendfile on; tcp_nopush on; keepalive_requests 1000000;
 client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
 server { listen 127.0.0.1:%[2]d backlog=1024; %[3]s } }
`, dir, port, location))
	if err != nil {
		return nil, err
	}
	user := ""
	if os.Geteuid() == 0 {
		user = "user root;"
	}
	return b.start("", "nginx", "-c", config, "-g", user)
}
