// Package lease hands out IPv4 addresses: subnets, ranges, offers, leases. It
// knows addresses, and machines by their MAC (never by a client identifier,
// which changes between boot stages: coreos/bugs#1432). It must not know
// packets, or what a machine boots.
//
// # Which address
//
// A machine gets the address that its host entry fixes; else the one that it
// has or had last; else the one that it asks for, if that is free; else one
// that nobody had yet; else the one that has been free for longest. What is
// found by searching is found at once: every address that is more than a
// number has a slot in one of several queues, each in the order in which it
// will be needed, and addresses that nobody had yet are only counted off. So a
// large range costs nothing until it is used.
//
// # Durability
//
// Confirm returns once the lease is on the disk. The recorded expiry is an
// upper bound: half a lease later than what the machine was told. A renewal
// within the bound, or a second boot of the same morning, needs no write.
// After a restart the bound is all that is known, so an address stays with its
// machine for longer than it was promised, never for shorter. An offer isn't
// recorded.
//
// # Addresses in use
//
// An address is probed by ICMP echo before it is first offered to a machine
// that has no lease on it, and set aside for a while if something answers.
// Silence takes 300 ms to be heard, which a booting machine does not notice,
// but with 64 machines waiting it would hold the server at 213 a second. So:
//
//   - As long as few machines are new at a time (16 at once, then 16 a second)
//     each waits for an echo of its own, at most 300 ms. The more come, the
//     fewer of them wait, and in a storm of 128 a second none does.
//   - The others get an address that was silent when it was surveyed, at most
//     half an hour ago. Run surveys ahead of time, 128 addresses a second (each
//     that is silent takes an entry of the kernel's neighbour table for three
//     seconds, and the table holds 1024), up to 16,384 that nobody had yet, and
//     all that are free again. It repeats that at 16 a second, or as seldom as
//     every quarter of an hour: two addresses a minute in a range of 30.
//   - When neither is to be had, the address is offered unprobed, which is
//     counted and logged: no answer is held back for longer than 300 ms, and
//     the machine's own ARP probe and DECLINE remain.
//
// # Bounds
//
// Offers are forgotten after 30 s, or sooner when there are more than 16,384
// in a subnet or no address is left: the oldest goes first. They write
// nothing. Declined addresses take up a quarter of a subnet at most, so that a
// hostile machine can't decline all. A subnet has 131,072 addresses in use at
// most, however large its range.
package lease
