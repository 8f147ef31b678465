// Package state keeps what outlives a restart, in one bbolt file of the state
// directory. It must not know protocols, or what a generation holds.
package state
