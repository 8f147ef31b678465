// Package bootscript renders iPXE scripts: menus, boot scripts and what leads
// to them. It is pure: values in, text out. It knows iPXE's syntax as stock
// builds from 2019 (Debian 12) to 2.0 read it, and nothing of HTTP, files,
// state or policy.
//
// A script never strands a machine: whatever fails is named on the screen, and
// after a pause it is tried again, with growing pauses, until the rounds are
// used up and the script does what OnFailure says.
package bootscript
