// Package config turns the administrator's TOML file into valid, typed values,
// and watches that file for changes.
//
// It knows what a key means, which values make sense, and which don't go
// together. It reports everything that is wrong at once, each with file, line,
// key and what to do.
//
// Parsing touches nothing but its argument: whether a kernel, a profile or an
// interface exists is for `ravenboot check` to say. The package must not know
// packets, scripts or HTTP.
package config
