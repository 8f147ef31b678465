package dhcp

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv4"

	"ravenboot/internal/boot"
	"ravenboot/internal/machine"
)

// TestArchitectures has each value of option 93 that firmware sends
// (FIELD-NOTES 1), from PXE and HTTP Boot clients, in mode proxy.
func TestArchitectures(t *testing.T) {
	s := testServer(t, testConfig(ModeProxy), boot.Policy{})
	const tftp, http = "52-54-00-12-34-56/", "http://192.0.2.10/loader/52-54-00-12-34-56/"
	for _, row := range []struct {
		class string
		types []byte
		file  string // "": silence
	}{
		{classPXE, []byte{0, 0}, tftp + "undionly.kpxe"},
		{classPXE, []byte{0, 6}, tftp + "snponly-i386.efi"},
		{classPXE, []byte{0, 7}, tftp + "snponly.efi"},
		{classPXE, []byte{0, 8}, tftp + "snponly.efi"},
		{classPXE, []byte{0, 9}, tftp + "snponly.efi"},
		{classPXE, []byte{0, 10}, tftp + "snponly-arm32.efi"},
		{classPXE, []byte{0, 11}, tftp + "snponly-arm64.efi"},
		{classHTTP, []byte{0, 15}, http + "snponly-i386.efi"},
		{classHTTP, []byte{0, 16}, http + "snponly.efi"},
		{classHTTP, []byte{0, 18}, http + "snponly-arm32.efi"},
		{classHTTP, []byte{0, 19}, http + "snponly-arm64.efi"},
		{classHTTP, []byte{0, 20}, http + "undionly.kpxe"},
		{classPXE, []byte{0, 27}, tftp + "snponly-riscv64.efi"},
		{classHTTP, []byte{0, 28}, http + "snponly-riscv64.efi"},
		{classPXE, []byte{0, 39}, tftp + "snponly-loong64.efi"},
		{classHTTP, []byte{0, 40}, http + "snponly-loong64.efi"},
		{classPXE, []byte{0, 41}, ""},                                                                        // Raspberry Pi's ROM
		{classPXE, []byte{0, 1}, ""},                                                                         // NEC PC98
		{classPXE, []byte{0, 1, 0, 7}, tftp + "snponly.efi"},                                                 // several: the first that a loader exists for
		{classPXE, []byte{0, 41, 0, 0}, tftp + "undionly.kpxe"},                                              // the same
		{classPXE, []byte{0, 7, 0}, tftp + "snponly.efi"},                                                    // an odd byte at the end
		{classPXE, []byte{7}, tftp + "undionly.kpxe"},                                                        // too short to mean anything
		{classPXE, nil, tftp + "undionly.kpxe"},                                                              // nothing at all
		{classHTTP, nil, http + "snponly.efi"},                                                               //
		{"PXEClient:Arch:00007:UNDI:003016", nil, tftp + "snponly.efi"},                                      // only in the class
		{"HTTPClient:Arch:00019:UNDI:003001", nil, http + "snponly-arm64.efi"},                               //
		{"PXEClient:Arch:0000x:UNDI:003016", nil, tftp + "undionly.kpxe"},                                    // garbled
		{"HTTPClient:Arch:00016:UNDI:003001", []byte{0, 7}, http + "snponly.efi"},                            // the class says how it is fetched
		{"PXEClient:Arch:00016:UNDI:003001", []byte{0, 16}, tftp + "snponly.efi"},                            // the other way round
		{"anaconda-Linux 5.3 x86_64", []byte{0, 7}, ""},                                                      // no boot client
		{"PXEClien", []byte{0, 7}, ""},                                                                       //
		{"", []byte{0, 7}, ""},                                                                               //
		{"PXEClient:Arch:00007:UNDI:003016", []byte(strings.Repeat("\x00\x01", 100)), ""},                    // a long list of nothing
		{"PXEClient:Arch:00007", []byte(strings.Repeat("\x00\x01", 100) + "\x00\x07"), tftp + "snponly.efi"}, //
	} {
		change := []dhcpv4.Modifier{withText(optClass, row.class)}
		if row.types != nil {
			change = append(change, with(optArch, row.types...))
		}
		answer, _ := ask(t, s, broadcast(message(dhcpv4.MessageTypeDiscover, change...)))
		if answer == nil {
			if row.file != "" {
				t.Errorf("%s %v: silence, want %s", row.class, row.types, row.file)
			}
			continue
		}
		if answer.BootFileName != row.file || answer.BootFileNameOption() != row.file {
			t.Errorf("%s %v: file %q, option 67 %q, want %q", row.class, row.types, answer.BootFileName, answer.BootFileNameOption(), row.file)
		}
		if got, want := answer.ClassIdentifier(), row.class[:min(len(row.class), strings.IndexByte(row.class+":", ':'))]; got != want {
			t.Errorf("%s %v: class %q in the reply, want %q", row.class, row.types, got, want)
		}
	}
}

// TestIPXE has the ways in which an iPXE shows itself (FIELD-NOTES 2).
func TestIPXE(t *testing.T) {
	s := testServer(t, testConfig(ModeProxy), boot.Policy{})
	const script = "http://192.0.2.10/boot.ipxe"
	const loader = "tftp://192.0.2.10/52-54-00-12-34-56/undionly.kpxe"
	noHTTPS := []byte{0x13, 1, 1, 0x27, 1, 1, 0x18, 1, 1}
	for name, row := range map[string]struct {
		change []dhcpv4.Modifier
		file   string
	}{
		"raw user class":         {[]dhcpv4.Modifier{ipxe(fullIPXE)}, script},
		"RFC 3004 user class":    {[]dhcpv4.Modifier{ipxe(fullIPXE), withText(optUserClass, "\x04iPXE")}, script},
		"two RFC 3004 classes":   {[]dhcpv4.Modifier{ipxe(fullIPXE), withText(optUserClass, "\x03foo\x04iPXE")}, script},
		"user class with a NUL":  {[]dhcpv4.Modifier{ipxe(fullIPXE), withText(optUserClass, "iPXE\x00")}, script},
		"user class changed":     {[]dhcpv4.Modifier{ipxe(fullIPXE), withText(optUserClass, "lab")}, script},
		"no vendor class":        {[]dhcpv4.Modifier{withText(optUserClass, "iPXE"), with(optIPXE, fullIPXE...), with(optArch, 0, 0)}, script},
		"unknown architecture":   {[]dhcpv4.Modifier{ipxe(fullIPXE), with(optArch, 0, 1)}, script},
		"enough, without https":  {[]dhcpv4.Modifier{ipxe(noHTTPS)}, script},
		"ROM lacks HTTP":         {[]dhcpv4.Modifier{ipxe(romIPXE)}, loader},
		"no features told":       {[]dhcpv4.Modifier{pxe(0, 0), withText(optUserClass, "iPXE")}, loader},
		"features switched off":  {[]dhcpv4.Modifier{ipxe([]byte{0x13, 1, 0, 0x27, 1, 1, 0x18, 1, 1})}, loader},
		"features cut short":     {[]dhcpv4.Modifier{ipxe([]byte{0x13, 1, 1, 0x27, 9, 1})}, loader},
		"EFI build, no bzImage":  {[]dhcpv4.Modifier{ipxe([]byte{0x13, 1, 1, 0x27, 1, 1, 0x24, 1, 1}), with(optArch, 0, 7)}, script},
		"somebody's user class":  {[]dhcpv4.Modifier{pxe(0, 0), withText(optUserClass, "\x09iPXE")}, "52-54-00-12-34-56/undionly.kpxe"},
		"iPXE within other text": {[]dhcpv4.Modifier{pxe(0, 0), withText(optUserClass, "not iPXE")}, "52-54-00-12-34-56/undionly.kpxe"},
	} {
		answer, _ := ask(t, s, broadcast(message(dhcpv4.MessageTypeDiscover, row.change...)))
		if answer == nil || answer.BootFileName != row.file {
			t.Errorf("%s: %v, want %s", name, answer, row.file)
		}
	}
}

// TestLoop hands a ROM's iPXE its loader again and again, as in ipxe#908: the
// fourth exchange within two minutes gets the script, and both of its packets do.
func TestLoop(t *testing.T) {
	s, clock, log := loggedServer(t, testConfig(ModeProxy), boot.Policy{})
	file := func(xid byte) string {
		t.Helper()
		answer, _ := ask(t, s, broadcast(message(dhcpv4.MessageTypeDiscover, ipxe(romIPXE), dhcpv4.WithTransactionID(dhcpv4.TransactionID{xid}))))
		name := answer.BootFileName
		return name[strings.LastIndexByte(name, '/')+1:]
	}
	for xid, want := range []string{"undionly.kpxe", "undionly.kpxe", "undionly.kpxe", "boot.ipxe", "boot.ipxe"} {
		for range 3 { // firmware repeats itself within an exchange
			if got := file(byte(xid + 1)); got != want {
				t.Fatalf("exchange %d: %s, want %s", xid+1, got, want)
			}
		}
		clock.t = clock.t.Add(5 * time.Second)
	}
	if !strings.Contains(log.String(), "loop: ") {
		t.Error("the log doesn't say that it is a loop")
	}
	clock.t = clock.t.Add(2 * time.Minute)
	if got := file(9); got != "undionly.kpxe" {
		t.Errorf("two minutes later: %s, want the loader again", got)
	}
}

// TestChainloadOnce has UEFI's own PXE load our iPXE under chainload "always":
// this iPXE is the one that was wanted, and is not given another.
func TestChainloadOnce(t *testing.T) {
	policy := boot.Policy{Default: boot.Default{Settings: boot.Settings{Chainload: boot.ChainloadAlways}}}
	s, clock, _ := loggedServer(t, testConfig(ModeProxy), policy)
	first, _ := ask(t, s, broadcast(message(dhcpv4.MessageTypeDiscover, pxe(0, 7), dhcpv4.WithTransactionID(dhcpv4.TransactionID{1}))))
	if got, want := first.BootFileName, "52-54-00-12-34-56/snponly.efi"; got != want {
		t.Fatalf("UEFI PXE: %s, want %s", got, want)
	}
	clock.t = clock.t.Add(70 * time.Second) // a slow link
	efi := ipxe([]byte{0x13, 1, 1, 0x27, 1, 1, 0x24, 1, 1})
	again, _ := ask(t, s, broadcast(message(dhcpv4.MessageTypeDiscover, efi, with(optArch, 0, 7), dhcpv4.WithTransactionID(dhcpv4.TransactionID{2}))))
	if got := again.BootFileName; !strings.HasSuffix(got, "/boot.ipxe") {
		t.Errorf("the iPXE that it loaded: %s, want the script", got)
	}
}

// TestRefusals has boot clients that get no boot file.
func TestRefusals(t *testing.T) {
	long := strings.Repeat("a", 127) + ".efi"
	noTFTP, noHTTP, oddTFTP := testConfig(ModeServer), testConfig(ModeServer), testConfig(ModeServer)
	noTFTP.TFTPPort, noHTTP.HTTPPort, oddTFTP.TFTPPort = 0, 0, 6969
	httpBoot := func(p *dhcpv4.DHCPv4) { withText(optClass, classHTTP)(p); with(optArch, 0, 16)(p) }
	for name, row := range map[string]struct {
		cfg    Config
		policy boot.Policy
		client dhcpv4.Modifier
	}{
		"name over 127 bytes":           {testConfig(ModeServer), boot.Policy{Hosts: []boot.Host{{Name: "a", MACs: []machine.MAC{testMAC}, Settings: boot.Settings{Loader: long}}}}, pxe(0, 7)},
		"URL over 127 bytes":            {testConfig(ModeServer), boot.Policy{Hosts: []boot.Host{{Name: "a", MACs: []machine.MAC{testMAC}, Settings: boot.Settings{Loader: long[40:]}}}}, httpBoot},
		"no TFTP":                       {noTFTP, boot.Policy{}, pxe(0, 7)},
		"TFTP where no ROM looks":       {oddTFTP, boot.Policy{}, pxe(0, 7)},
		"no HTTP for HTTP Boot":         {noHTTP, boot.Policy{}, httpBoot},
		"no HTTP for iPXE":              {noHTTP, boot.Policy{}, ipxe(fullIPXE)},
		"unknown machines are ignored":  {testConfig(ModeServer), boot.Policy{Default: boot.Default{Action: boot.ActionIgnore}}, pxe(0, 7)},
		"no loader for an architecture": {testConfig(ModeServer), boot.Policy{}, pxe(0, 41)},
	} {
		t.Run(name, func(t *testing.T) {
			// With an address of its own the machine gets nothing else; without,
			// it gets nothing. Option 60 would make an iPXE ask port 4011.
			s := testServer(t, row.cfg, row.policy)
			answer, _ := ask(t, s, broadcast(message(dhcpv4.MessageTypeDiscover, row.client)))
			if answer == nil || answer.YourIPAddr.IsUnspecified() || answer.BootFileName != "" ||
				answer.Options.Has(dhcpv4.OptionBootfileName) || answer.Options.Has(dhcpv4.OptionClassIdentifier) {
				t.Errorf("mode server: %v", answer)
			}
			row.cfg.Mode = ModeProxy
			if err := s.SetConfig(row.cfg, nil); err != nil {
				t.Fatal(err)
			}
			if answer, _ := ask(t, s, broadcast(message(dhcpv4.MessageTypeDiscover, row.client))); answer != nil {
				t.Errorf("mode proxy: %v", answer)
			}
		})
	}
}

// TestProxyKeepsOut has what a proxy must leave to the DHCP server, and the
// requests that are meant for it.
func TestProxyKeepsOut(t *testing.T) {
	s := testServer(t, testConfig(ModeProxy), boot.Policy{})
	for name, row := range map[string]struct {
		data   []byte
		answer bool
	}{
		"plain client":                 {message(dhcpv4.MessageTypeDiscover), false},
		"the other server was chosen":  {message(dhcpv4.MessageTypeRequest, edk2, withAddr(optServerID, "192.0.2.2")), false},
		"no server was chosen":         {message(dhcpv4.MessageTypeRequest, edk2, withAddr(optRequestedAddress, "192.0.2.101")), false},
		"a server identifier too long": {message(dhcpv4.MessageTypeRequest, edk2, with(optServerID, 192, 0, 2, 10, 0)), false},
		"release":                      {message(dhcpv4.MessageTypeRelease, edk2, from("192.0.2.101")), false},
		"decline":                      {message(dhcpv4.MessageTypeDecline, edk2), false},
		"the proxy was chosen":         {message(dhcpv4.MessageTypeRequest, edk2, withAddr(optServerID, "192.0.2.10")), true},
		"a server beside it was chosen": {
			message(dhcpv4.MessageTypeRequest, edk2, withAddr(optServerID, "192.0.2.10"), withAddr(optRequestedAddress, "192.0.2.101")), false},
		"the proxy and no address were chosen": {
			message(dhcpv4.MessageTypeRequest, edk2, withAddr(optServerID, "192.0.2.10"), withAddr(optRequestedAddress, "0.0.0.0")), true},
		"inform": {message(dhcpv4.MessageTypeInform, edk2, from("192.0.2.101")), true},
	} {
		answer, _ := ask(t, s, broadcast(row.data))
		if (answer != nil) != row.answer {
			t.Errorf("%s: %v", name, answer)
		}
		if answer != nil && (answer.MessageType() != dhcpv4.MessageTypeAck || !answer.YourIPAddr.IsUnspecified()) {
			t.Errorf("%s: %s", name, answer.Summary())
		}
	}
}

// TestOverride has a Raspberry Pi's UEFI, which says that it is a BIOS
// (firmware#1928), and a group that knows better by its MAC.
func TestOverride(t *testing.T) {
	pattern, err := machine.ParseMACPattern("52:54:00:*")
	if err != nil {
		t.Fatal(err)
	}
	policy := boot.Policy{Groups: []boot.Group{{Name: "pi", Match: boot.Match{MAC: &pattern},
		Settings: boot.Settings{Arch: machine.ARM64, Firmware: machine.EFI}}}}
	cfg := testConfig(ModeProxy)
	cfg.EFIOption43 = false
	answer, _ := ask(t, testServer(t, cfg, policy), broadcast(message(dhcpv4.MessageTypeDiscover, pxe(0, 0))))
	if answer == nil || answer.BootFileName != "52-54-00-12-34-56/snponly-arm64.efi" || answer.Options.Has(dhcpv4.OptionVendorSpecificInformation) {
		t.Errorf("%v", answer)
	}
}

// TestStepLog has the lines of a boot client's and of a plain client's exchange.
func TestStepLog(t *testing.T) {
	selected := func(p *dhcpv4.DHCPv4) {
		withAddr(optServerID, "192.0.2.10")(p)
		withAddr(optRequestedAddress, "192.0.2.100")(p)
	}
	const prefix = `level=INFO msg=dhcp machine=52:54:00:12:34:56 step=dhcp outcome=`
	const why = ` reason="no host or group matches, so [default] decides; undionly.kpxe is the loader for bios x86_64" message=`
	const boots = ` interface=eth0 address=192.0.2.100 file=52-54-00-12-34-56/undionly.kpxe`
	for name, row := range map[string]struct {
		client dhcpv4.Modifier
		want   []string
	}{
		"boot client": {biosROM, []string{prefix + "offer" + why + "DISCOVER" + boots, prefix + "ack" + why + "REQUEST" + boots}},
		"plain client": {func(*dhcpv4.DHCPv4) {}, []string{
			prefix + `ack reason="no boot client, so an address and no boot file" message=REQUEST interface=eth0 address=192.0.2.100`}},
	} {
		s, _, log := loggedServer(t, testConfig(ModeServer), boot.Policy{})
		ask(t, s, broadcast(message(dhcpv4.MessageTypeDiscover, row.client)))
		ask(t, s, broadcast(message(dhcpv4.MessageTypeRequest, row.client, selected)))
		var got []string
		for line := range strings.Lines(log.String()) {
			_, line, _ = strings.Cut(strings.TrimSpace(line), " ") // the time
			got = append(got, line)
		}
		if diff := cmp.Diff(row.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
