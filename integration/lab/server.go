package lab

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// binaryEnv names the ravenboot to test; without it the tree's is built.
const binaryEnv = "RAVENBOOT_BIN"

// readyWithin is how long a server may take until its /healthz answers 200.
const readyWithin = 30 * time.Second

// binary is the program under test. The tests boot machines from what an
// administrator would run, not from its packages.
var binary = sync.OnceValues(func() (string, error) {
	if path := os.Getenv(binaryEnv); path != "" {
		return filepath.Abs(path)
	}
	dir, err := os.MkdirTemp("", "rbbin")
	if err != nil {
		return "", err
	}
	built.dir = dir
	path := filepath.Join(dir, "ravenboot")
	out, err := exec.Command("go", "build", "-o", path, "ravenboot/cmd/ravenboot").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build ravenboot/cmd/ravenboot: %w\n%s", err, out)
	}
	return path, nil
})

// Binary is the ravenboot under test.
func Binary(t testing.TB) string {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var built struct{ dir, client string }

// RemoveBinary deletes what the tests have built, after the last of them.
func RemoveBinary() error { return errors.Join(os.RemoveAll(built.dir), os.RemoveAll(built.client)) }

// Server is a running ravenboot.
type Server struct {
	*Process
	config string
	starts int
}

// StateDir is where the lab's server keeps its state. A test can put something
// there before the server starts.
func (l *Lab) StateDir() string {
	l.t.Helper()
	dir := filepath.Join(l.dir, "state")
	l.check(os.MkdirAll(dir, 0o700))
	return dir
}

// Serve starts `ravenboot serve` in the server's namespace and waits until it
// is ready. The configuration is TOML without the keys state_dir and
// interface, which every test has alike.
func (l *Lab) Serve(config string) *Server {
	l.t.Helper()
	s := &Server{config: filepath.Join(l.dir, "ravenboot.toml")}
	head := fmt.Sprintf("[server]\ninterface = %q\nstate_dir = %q\n\n", Segment, l.StateDir())
	l.check(os.WriteFile(s.config, []byte(head+config), 0o644))
	l.keep("ravenboot.toml", []byte(head+config))
	l.start(s)
	return s
}

// RunRavenboot runs a command with a server's configuration, in its namespace.
func (l *Lab) RunRavenboot(s *Server, command string, argv ...string) {
	l.t.Helper()
	path := Binary(l.t)
	var out []byte
	var err error
	l.check(l.Do(func() error {
		out, err = exec.Command(path, append([]string{command, "-config", s.config}, argv...)...).CombinedOutput()
		return nil
	}))
	if err != nil {
		l.t.Fatalf("ravenboot %s: %v\n%s", command, err, out)
	}
}

// Restart starts a server again after Stop or Kill, with the state that it
// left behind.
func (l *Lab) Restart(s *Server) {
	l.t.Helper()
	if !s.Ended() {
		l.t.Fatal("restart of a server that runs: stop it first")
	}
	l.start(s)
}

func (l *Lab) start(s *Server) {
	l.t.Helper()
	s.starts++
	s.Process = l.Start(l.Namespace, fmt.Sprintf("ravenboot%d", s.starts), Binary(l.t), "serve", "-config", s.config)
	client := l.Client()
	defer client.CloseIdleConnections()
	for deadline := time.Now().Add(readyWithin); ; time.Sleep(50 * time.Millisecond) {
		err := healthy(client)
		if err == nil {
			return
		}
		if s.Ended() || time.Now().After(deadline) {
			l.t.Fatalf("ravenboot is not ready: %v\n%s", err, lastLines(s.Log()))
		}
	}
}

func healthy(client *http.Client) error {
	answer, err := client.Get("http://" + Address + "/healthz")
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("/healthz says %s", answer.Status)
	}
	return nil
}
