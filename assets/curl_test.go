package assets

import (
	"bytes"
	"os/exec"
	"testing"
)

// tool finds a program that a test can't do without.
func tool(t *testing.T, name, debianPackage string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is missing: apt-get install %s", name, debianPackage)
	}
	return path
}

func TestCurl(t *testing.T) {
	loader := program(amd64, 300_001)
	var seen observed
	addr := startTFTP(t, TFTPConfig{Observe: seen.observe}, only(write(t, map[string][]byte{"snponly.efi": loader})))
	curl := tool(t, "curl", "curl")
	for name, want := range map[string][]byte{
		"snponly.efi":                     loader,
		"//52-54-00-12-34-56/snponly.efi": loader,
		"525400123456/autoexec.ipxe":      []byte("#!ipxe\n# 52:54:00:12:34:56 at 127.0.0.1\n"),
	} {
		got, err := exec.Command(curl, "-sS", "--max-time", "20", "tftp://"+addr.String()+"/"+name).Output()
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, %v, want %d", name, len(got), err, len(want))
		}
	}
	seen.wait(t, "tftp loader sent", 2)
	seen.wait(t, "tftp script sent", 1)
}
