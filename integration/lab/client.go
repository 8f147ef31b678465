package lab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// clientBinaryEnv names the ravenboot-client to test; without it the tree's is
// built.
const clientBinaryEnv = "RAVENBOOT_CLIENT_BIN"

var clientBinary = sync.OnceValues(func() (string, error) {
	if path := os.Getenv(clientBinaryEnv); path != "" {
		return filepath.Abs(path)
	}
	dir, err := os.MkdirTemp("", "rbclient")
	if err != nil {
		return "", err
	}
	built.client = dir
	path := filepath.Join(dir, "ravenboot-client")
	cmd := exec.Command("go", "build", "-o", path, "ravenboot/cmd/ravenboot-client")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build ravenboot/cmd/ravenboot-client: %w\n%s", err, out)
	}
	return path, nil
})

// ClientBinary is the static ravenboot-client under test.
func ClientBinary(t testing.TB) string {
	t.Helper()
	path, err := clientBinary()
	if err != nil {
		t.Fatal(err)
	}
	return path
}
