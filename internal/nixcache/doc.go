// Package nixcache is a Nix binary cache of the closures of the systems on
// offer, made on the fly from the server's own store.
//
// It knows the Nix store, its tools, and the binary cache protocol: nix-cache-info,
// narinfo, NAR, signatures. It must not know machines, menus, or why a system is
// on offer: it is told which toplevels are, and serves their closures and
// nothing else of the store.
//
// What is in a closure is asked of nix-store once and kept, in memory and in
// the state directory: a store path never changes while it is there. NARs are
// read from the store as they are sent; there is no second copy of anything.
package nixcache
