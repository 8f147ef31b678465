// Package nixcache is a Nix binary cache of the closures of the systems on
// offer, made on the fly from the server's own store, or passed on from a
// directory or from another cache.
//
// It knows the Nix store, its tools, and the binary cache protocol: nix-cache-info,
// narinfo, NAR, signatures. It must not know machines, menus, or why a system is
// on offer: it is told which toplevels are, and serves their closures and
// nothing else of the store.
//
// What is in a closure is asked of nix-store once and kept, in memory and in
// the state directory: a store path never changes while it is there. NARs are
// read from the store as they are sent; there is no second copy of anything.
//
// Of a directory or another cache narinfos say what is in a closure. A directory
// is believed, since its owner named it; another cache's narinfos must be signed
// with a key that was named, and its NARs are compared with them before they are
// kept, or whole at a client. Either can be hostile, and neither can make this
// server open or ask for anything outside.
package nixcache
