package main

import (
	"os"
	"syscall"
)

var signals = map[string]os.Signal{"HUP": syscall.SIGHUP, "TERM": syscall.SIGTERM}
