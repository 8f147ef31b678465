package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// space makes a network namespace whose loopback is up. It has a bridge with an
// address, too: tftpd-hpa won't listen where loopback is all there is.
func (b *bench) space() (string, error) {
	name := fmt.Sprintf("rbbench-%d-%d", os.Getpid(), len(b.spaces))
	if err := ip("netns add " + name); err != nil {
		return "", err
	}
	b.spaces = append(b.spaces, name)
	for _, command := range []string{
		"link set lo up", "link add br0 type bridge", "address add 192.0.2.1/24 dev br0", "link set br0 up",
	} {
		if err := ip("-n " + name + " " + command); err != nil {
			return "", err
		}
	}
	return name, nil
}

// The network of the DHCP figures: the server at one end of a cable, and a
// relay at the other, for whom machines' packets come.
const (
	dhcpNetwork = "198.18.0.0/16"
	serverAddr  = "198.18.0.1"
	relayAddr   = "198.18.0.2"
	firstAddr   = "198.18.16.0"
	lastAddr    = "198.18.127.255"
)

// cable makes two namespaces and a cable between them.
func (b *bench) cable() (server, relay string, err error) {
	if server, err = b.space(); err != nil {
		return "", "", err
	}
	if relay, err = b.space(); err != nil {
		return "", "", err
	}
	for _, command := range []string{
		"-n " + server + " link add eth0 type veth peer name eth0 netns " + relay,
		"-n " + server + " address add " + serverAddr + "/16 dev eth0",
		"-n " + relay + " address add " + relayAddr + "/16 dev eth0",
		"-n " + server + " link set eth0 up",
		"-n " + relay + " link set eth0 up",
	} {
		if err := ip(command); err != nil {
			return "", "", err
		}
	}
	return server, relay, nil
}

func ip(command string) error {
	if out, err := exec.Command("ip", strings.Fields(command)...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", command, err, out)
	}
	return nil
}
