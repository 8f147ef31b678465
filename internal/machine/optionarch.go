package machine

// ClientOfType is what a value of DHCP option 93 says of the client: RFC 4578
// section 2.1 as corrected by IANA's registry "Processor Architecture Types".
// The RFC's text and the registry disagree on 7 and 9, and firmware sends
// either for x86-64 EFI; 8 was seen from x86-64 firmware too (Cobbler maps it
// so). ok is false for a value that no loader can exist for.
func ClientOfType(t uint16) (c Client, ok bool) {
	switch t {
	case 0:
		return Client{Firmware: BIOS, Arch: X86_64}, true
	case 6:
		return Client{Firmware: EFI, Arch: I386}, true
	case 7, 8, 9:
		return Client{Firmware: EFI, Arch: X86_64}, true
	case 10:
		return Client{Firmware: EFI, Arch: ARM32}, true
	case 11:
		return Client{Firmware: EFI, Arch: ARM64}, true
	case 15:
		return Client{Firmware: EFI, Arch: I386, HTTP: true}, true
	case 16:
		return Client{Firmware: EFI, Arch: X86_64, HTTP: true}, true
	case 18:
		return Client{Firmware: EFI, Arch: ARM32, HTTP: true}, true
	case 19:
		return Client{Firmware: EFI, Arch: ARM64, HTTP: true}, true
	case 20:
		return Client{Firmware: BIOS, Arch: X86_64, HTTP: true}, true
	case 25:
		return Client{Firmware: EFI, Arch: RISCV32}, true
	case 26:
		return Client{Firmware: EFI, Arch: RISCV32, HTTP: true}, true
	case 27:
		return Client{Firmware: EFI, Arch: RISCV64}, true
	case 28:
		return Client{Firmware: EFI, Arch: RISCV64, HTTP: true}, true
	case 39:
		return Client{Firmware: EFI, Arch: LoongArch64}, true
	case 40:
		return Client{Firmware: EFI, Arch: LoongArch64, HTTP: true}, true
	case 41:
		return Client{Firmware: RaspberryPi, Arch: ARM64}, true
	}
	return Client{}, false
}
