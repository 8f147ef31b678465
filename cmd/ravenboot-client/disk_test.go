package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// loop makes a disk, $LOOP, of a sparse file.
func makeLoop(ts *testscript.TestScript, _ bool, _ []string) {
	path := ts.MkAbs("disk.img")
	file, err := os.Create(path)
	ts.Check(err)
	ts.Check(errors.Join(file.Truncate(64<<20), file.Close()))
	out, err := exec.Command("losetup", "--find", "--show", "--partscan", path).CombinedOutput()
	if err != nil {
		ts.Fatalf("losetup: %v: loop devices take real root; run this, or make test, as root\n%s", err, out)
	}
	device := strings.TrimSpace(string(out))
	ts.Defer(func() {
		if out, err := exec.Command("losetup", "--detach", device).CombinedOutput(); err != nil {
			ts.Logf("losetup: %v\n%s", err, out)
		}
	})
	ts.Setenv("LOOP", device)
	expand(ts)
}

// foreign puts somebody else's file system on the disk.
func makeForeign(ts *testscript.TestScript, _ bool, _ []string) {
	device := ts.Getenv("LOOP")
	ts.Check(exec.Command("partx", "--delete", device).Run())
	for _, argv := range [][]string{{"wipefs", "--all", device}, {"mkfs.ext4", "-q", "-F", "-L", "theirs", device}} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			ts.Fatalf("%q: %v\n%s", argv, err, out)
		}
	}
	ts.Setenv("DISK", diskHash(ts))
}

// unchanged fails if the disk has changed since `foreign`.
func isUnchanged(ts *testscript.TestScript, _ bool, _ []string) {
	if got := diskHash(ts); got != ts.Getenv("DISK") {
		ts.Fatalf("the disk was written to")
	}
}

func diskHash(ts *testscript.TestScript) string {
	file, err := os.Open(ts.Getenv("LOOP"))
	ts.Check(err)
	defer file.Close()
	digest := sha256.New()
	_, err = io.Copy(digest, file)
	ts.Check(err)
	return hex.EncodeToString(digest.Sum(nil))
}
