// Package closure downloads what a system consists of to the machine that is
// about to start it.
//
// It knows the binary cache protocol as a client, signatures, and in which
// order files and the database must be written. It must not know disks, menus,
// kernel arguments, or what happens after a failure.
//
// What is downloaded is believed for its signature and its hash alone: the
// network is not trusted, and a proxy or a mirror needn't be.
package closure
