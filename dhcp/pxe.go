package dhcp

// bypassDiscovery is option 43 for PXE: discovery control (sub-option 6) with
// bit 3 alone, "take the boot file from this packet" (PXE 2.1 table 2-1).
// Without it EDK2 goes on to port 4011, and BIOS ROMs fail with PXE-E55.
var bypassDiscovery = []byte{6, 1, 8, optEnd}

// option67 is the file's name as option 67 carries it.
func (f *bootFile) option67() string {
	if f.nul {
		return f.name + "\x00"
	}
	return f.name
}
