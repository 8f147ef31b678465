// Package machine holds what a boot server knows of a machine, as plain
// values: its MAC address, SMBIOS UUID, processor architecture, the firmware
// that speaks for it and, where that is an iPXE, what this iPXE can do.
//
// It must not know networks, files, packets or configuration.
package machine
