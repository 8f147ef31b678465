// Package nar reads store objects as Nix archives, and unpacks archives into
// store objects.
//
// It knows the archive format (Dolstra's thesis, figure 5.2; Nix's
// libutil/archive.cc) and the file system. It must not know where an archive
// comes from, what hash it is to have, or what a store holds.
//
// Archives are read and written here with the wire format of go-nix, not with
// its nar package: its Writer takes a file whose name starts with two dots for
// one further up, and can't leave out what lies before a range; its Reader
// doesn't unpack, and took a third longer for a closure.
package nar
