// Package lockstep sends files that are held in memory to many machines at a
// time by TFTP (RFC 1350, with the options of RFC 2347, 2348 and 2349), block
// by block, never ahead of an acknowledgement: a ROM has room for one packet.
//
// All transfers to one address of the server share a socket, so that one system
// call takes in what many machines have acknowledged, and another sends what
// comes next. That is the difference to a socket, a goroutine and a timer for
// each transfer.
//
// It knows packets and sockets. It must not know what the names mean, nor log.
package lockstep
