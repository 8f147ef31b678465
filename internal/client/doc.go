// Package client is what the parts of ravenboot-client share: settings from the
// kernel command line, reports to the server, and what follows a failure.
//
// It knows the kernel arguments that ravenboot adds and POST /report. It must
// not know disks, stores, or how a step does its work.
package client
