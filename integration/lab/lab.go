package lab

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"golang.org/x/sync/semaphore"
)

const (
	// Segment is the name of the bridge that every machine is plugged into
	// unless it says otherwise.
	Segment = "br0"

	// Address is the server's address on Segment (RFC 5737, TEST-NET-1).
	Address = "192.0.2.10"

	// machinesAtATime is what two cores carry without every time-out of the
	// firmware becoming a coincidence.
	machinesAtATime = 2

	// artifactsEnv names a directory that keeps logs, transcripts, pictures
	// and packets of every test, passed or failed.
	artifactsEnv = "RAVENBOOT_ARTIFACTS"
)

var slots = semaphore.NewWeighted(machinesAtATime)

// Lab is the network of one test, with the server's own namespace as its
// centre.
type Lab struct {
	*Namespace // where the server lives, and the bridges

	t         testing.TB
	dir       string // short-lived files; short, because a Unix socket's path holds 107 bytes
	artifacts string // "" keeps nothing
	machines  int    // started so far; names taps and sockets
}

// New makes a namespace with Segment in it, for a test that runs at most
// machines at a time, and waits until the processor has room for them. The test
// must be able to run beside others (t.Parallel).
func New(t testing.TB, machines int64) *Lab {
	t.Helper()
	if err := slots.Acquire(context.Background(), machines); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slots.Release(machines) })

	dir, err := os.MkdirTemp("", "rb")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("clean up: %v", err)
		}
	})
	l := &Lab{t: t, dir: dir}
	if root := os.Getenv(artifactsEnv); root != "" {
		l.artifacts = filepath.Join(root, unsafeInNames.ReplaceAllString(t.Name(), "_"))
		if err := os.MkdirAll(l.artifacts, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	l.Namespace = l.NewNamespace("server")
	l.Bridge(Segment, Address+"/24")
	return l
}

var unsafeInNames = regexp.MustCompile(`[^A-Za-z0-9_.-]+`)

// Dir is a directory that lives as long as the test.
func (l *Lab) Dir() string { return l.dir }

// keep stores one artifact of the test, if the environment asks for them.
func (l *Lab) keep(name string, content []byte) {
	if l.artifacts == "" {
		return
	}
	if err := os.WriteFile(filepath.Join(l.artifacts, name), content, 0o644); err != nil {
		l.t.Logf("keep %s: %v", name, err)
	}
}

// Write makes a file in the test's directory and returns its path.
func (l *Lab) Write(name, content string) string {
	l.t.Helper()
	path := filepath.Join(l.dir, name)
	l.check(os.WriteFile(path, []byte(content), 0o644))
	return path
}
