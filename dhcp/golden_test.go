package dhcp

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv4"

	"ravenboot/internal/boot"
	"ravenboot/internal/machine"
)

// uuid is option 97: its type, then the UUID.
var uuid = append([]byte{0}, []byte("\x44\x45\x4c\x4c\x42\x00\x10\x35\x80\x52\xb4\xc0\x4f\x4d\x34\x32")...)

// edk2 is OVMF's PXE (EDK2's PxeBcBuildDhcp4Options).
func edk2(p *dhcpv4.DHCPv4) {
	p.SetBroadcast()
	with(optMaxSize, 0x05, 0xc0)(p)
	with(55, 1, 2, 3, 4, 5, 6, 12, 13, 15, 17, 18, 22, 23, 28, 40, 41, 42, 43, 50, 51, 54, 58, 59, 60, 66, 67, 97, 128, 129, 130, 131, 132, 133, 134, 135)(p)
	with(optMachineID, uuid...)(p)
	with(94, 1, 3, 0)(p)
	with(optArch, 0, 7)(p)
	withText(optClass, "PXEClient:Arch:00007:UNDI:003000")(p)
}

// biosROM is an Intel Boot Agent: no broadcast flag, a short packet at most.
func biosROM(p *dhcpv4.DHCPv4) {
	with(optMaxSize, 0x04, 0xec)(p)
	with(55, 1, 2, 3, 5, 6, 11, 12, 13, 15, 16, 17, 18, 43, 54, 60, 67, 128, 129, 130, 131, 132, 133, 134, 135)(p)
	with(optMachineID, uuid...)(p)
	with(94, 1, 2, 1)(p)
	with(optArch, 0, 0)(p)
	withText(optClass, "PXEClient:Arch:00000:UNDI:002001")(p)
}

func relayed(p *dhcpv4.DHCPv4) {
	p.GatewayIPAddr = []byte{198, 51, 100, 1}
	with(optRelayAgent, 1, 4, 'e', 't', 'h', '7', 2, 3, 'r', 'a', 'k')(p)
}

// TestGolden compares whole replies, as somebody else's parser reads them.
func TestGolden(t *testing.T) {
	host := boot.Policy{Hosts: []boot.Host{{Name: "lab-07", MACs: []machine.MAC{testMAC}, Addr: must("192.0.2.7")}}}
	yes := true
	nul := boot.Policy{Default: boot.Default{Settings: boot.Settings{NulTerminate: &yes}}}
	no43 := testConfig(ModeProxy)
	no43.EFIOption43 = false
	elsewhere := testConfig(ModeServer)
	elsewhere.Address, elsewhere.HTTPPort = must("203.0.113.5"), 8080
	discover, request, inform := dhcpv4.MessageTypeDiscover, dhcpv4.MessageTypeRequest, dhcpv4.MessageTypeInform
	chosen := func(p *dhcpv4.DHCPv4) {
		withAddr(optServerID, "192.0.2.10")(p)
		withAddr(optRequestedAddress, "192.0.2.7")(p)
	}
	for _, row := range []struct {
		name   string
		cfg    Config
		policy boot.Policy
		packet Packet
	}{
		{"server-plain", testConfig(ModeServer), boot.Policy{}, broadcast(message(discover, with(optClientID, 1, 2, 3)))},
		{"server-bios-rom", testConfig(ModeServer), boot.Policy{}, broadcast(message(discover, biosROM))},
		{"server-edk2", testConfig(ModeServer), host, broadcast(message(discover, edk2))},
		{"server-edk2-request", testConfig(ModeServer), host, broadcast(message(request, edk2, chosen))},
		{"server-ipxe", testConfig(ModeServer), host, broadcast(message(discover, ipxe(fullIPXE)))},
		{"server-rom-ipxe", testConfig(ModeServer), host, broadcast(message(discover, ipxe(romIPXE)))},
		{"server-http-boot", elsewhere, host, broadcast(message(discover, edk2, with(optArch, 0, 16), withText(optClass, "HTTPClient:Arch:00016:UNDI:003001")))},
		{"server-nul", testConfig(ModeServer), nul, broadcast(message(discover, biosROM))},
		{"server-relayed", testConfig(ModeServer), boot.Policy{}, unicast(message(discover, edk2, relayed), "198.51.100.1:67", "192.0.2.10:67")},
		{"server-relayed-nak", testConfig(ModeServer), boot.Policy{}, unicast(message(request, relayed, withAddr(optRequestedAddress, "192.0.2.9")), "198.51.100.1:67", "192.0.2.10:67")},
		{"server-inform", testConfig(ModeServer), boot.Policy{}, broadcast(message(inform, from("192.0.2.55")))},
		{"proxy-bios-rom", testConfig(ModeProxy), boot.Policy{}, broadcast(message(discover, biosROM))},
		{"proxy-edk2", testConfig(ModeProxy), boot.Policy{}, broadcast(message(discover, edk2))},
		{"proxy-edk2-without-43", no43, boot.Policy{}, broadcast(message(discover, edk2))},
		{"proxy-edk2-4011", no43, boot.Policy{}, unicast(message(request, edk2, from("192.0.2.101")), "192.0.2.101:68", "192.0.2.10:4011")},
		{"proxy-relayed", testConfig(ModeProxy), boot.Policy{}, unicast(message(discover, edk2, relayed), "198.51.100.1:67", "192.0.2.10:67")},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := testServer(t, row.cfg, row.policy)
			if row.packet.Data[headerLen+2] == byte(request) && row.packet.Local.Port() == 67 {
				ask(t, s, broadcast(message(discover, edk2)))
			}
			answer, reply := ask(t, s, row.packet)
			if answer == nil {
				t.Fatal("silence")
			}
			compare(t, row.name, describe(answer, reply))
		})
	}
}

func describe(answer *dhcpv4.DHCPv4, reply Reply) string {
	frame := ""
	if !reply.Hardware.IsZero() {
		frame = fmt.Sprintf(" in a frame to %v", reply.Hardware)
	}
	last := "none"
	eachOption(reply.Data[headerLen:], func(code byte, _ []byte) { last = fmt.Sprint(code) })
	return fmt.Sprintf("from %v to %v%s, %d bytes, last option %s\n%s", reply.From, reply.To, frame, len(reply.Data), last, answer.Summary())
}

func compare(t *testing.T, name, got string) {
	t.Helper()
	// The library ends some lines with a space; editors don't.
	lines := strings.Split(got, "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	got = strings.ReplaceAll(strings.Join(lines, "\n"), "\x00", `\0`)
	file := filepath.Join("testdata", name+".txt")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got; -update rewrites it):\n%s", file, diff)
	}
}
