// Package store is a machine's own Nix store as the initrd sees it: below a
// root directory, with nothing running on it, and without Nix.
//
// It knows the store's directories, its database, profiles and garbage
// collector roots, in the forms that Nix 2 has them. It must not know where
// paths come from, or what boots.
//
// The database is written here, and not by `nix-store --load-db` once the
// system is up: what is not in it when the system starts is fair game for a
// garbage collection, and what is in it tells the next boot, without reading
// a byte of the store, what need not be fetched.
//
// # Order
//
// Files are made durable before the database says that they are valid, and it
// says that they are not before they are removed. So whatever moment the power
// fails at, a path that is valid is whole.
package store
