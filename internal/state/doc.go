// Package state keeps what outlives a restart, in the bbolt file state.db of
// the state directory. It must not know protocols, or what a generation holds.
//
// Every write is on the disk (fdatasync) before it is reported as done, and a
// killed server finds all of them again. A single goroutine writes: while one
// transaction is on its way to the disk the next gathers all writes that come
// in, so their number at a time sets the size of a transaction, without any
// delay of its own. Writes take effect in the order in which they were asked
// for.
//
// The free list of pages is kept in the file, though it costs a page a
// transaction: without it bbolt walks the whole file when it opens it, in a
// goroutine of its own, where a damaged page can't be met with an error.
package state
