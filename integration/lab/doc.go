// Package lab builds a computer lab on one machine: a network of its own for
// each test, machines in QEMU on it, and the servers that they boot from.
//
// It knows network namespaces, QEMU, firmware images, consoles and the
// lifetime of processes. It must not know what ravenboot decides or how its
// scripts look: it starts the built binary, as an administrator would, and
// watches what the machines print.
//
// Nothing leaves the namespace of a test, and nothing outlives the test: the
// namespaces have no name and vanish with their last process, and every process
// dies with the test program (PR_SET_PDEATHSIG), even when that is killed.
package lab
