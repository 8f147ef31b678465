// Package generation knows Nix profiles and the NixOS systems in them: links
// and numbers, bootspec (RFC 0125), labels, dates, specialisations, and which
// files of a system may be served.
//
// Scan reads a profile once; a Catalog keeps several profiles fresh in memory.
// The package must not know machines, MACs, iPXE or HTTP: a generation is the
// same for whoever boots it.
package generation
