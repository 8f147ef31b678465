// Package boot decides what a machine gets, and why. It is the one place for
// policy: DHCP, TFTP, HTTP and the command line all ask here, and log the
// reason that comes with the answer.
//
// Deciding is read-only and repeatable, because one boot asks several times:
// firmware retries, OVMF asks for its loader twice, iPXE asks DHCP again.
//
// The package knows machines and generations. It must not know packets, URLs,
// templates or databases.
package boot
