// Package web speaks HTTP: the boot side, with a script for each machine and
// the files that the scripts name, and the admin side. It turns what
// internal/boot decides into what bootscript renders.
//
// It must not decide what a machine gets, nor open files: the first is
// internal/boot's, the second is assets'.
package web
