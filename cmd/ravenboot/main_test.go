package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"ravenboot": main})
}

// TestCommands runs the stories in testdata. A story has ports of its own in
// $HTTP, $ADMIN and $TFTP.
func TestCommands(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			for _, name := range []string{"HTTP", "ADMIN", "TFTP"} {
				port, err := freePort()
				if err != nil {
					return err
				}
				env.Setenv(name, strconv.Itoa(port))
			}
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"build":  buildProgram,
			"get":    get,
			"ports":  putPorts,
			"signal": sendSignal,
		},
	})
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// build NAME makes a program of a neighbouring directory one of the story's.
func buildProgram(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: build NAME")
	}
	bin := ts.MkAbs("bin")
	out, err := exec.Command("go", "build", "-o", bin+"/", "../"+args[0]).CombinedOutput()
	if err != nil {
		ts.Fatalf("go build: %v\n%s", err, out)
	}
	ts.Setenv("PATH", bin+":"+ts.Getenv("PATH"))
}

// ports FILE... replaces $HTTP, $ADMIN and $TFTP in files.
func putPorts(ts *testscript.TestScript, _ bool, args []string) {
	for _, name := range args {
		text := os.Expand(ts.ReadFile(name), func(key string) string { return ts.Getenv(key) })
		ts.Check(os.WriteFile(ts.MkAbs(name), []byte(text), 0o644))
	}
}

// patience is how long a story waits for something to become true.
const patience = 20 * time.Second

// get URL STATUS [TEXT] asks until the answer has the status and the text.
func get(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: get URL STATUS [TEXT]")
	}
	text := strings.Join(args[2:], " ")
	var last string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		r, err := http.Get(args[0])
		if err != nil {
			last = err.Error()
			continue
		}
		body, err := io.ReadAll(r.Body)
		r.Body.Close()
		ts.Check(err)
		if strconv.Itoa(r.StatusCode) == args[1] && strings.Contains(string(body), text) {
			return
		}
		last = fmt.Sprintf("%s\n%s", r.Status, body)
	}
	ts.Fatalf("%s never was %s with %q, last: %s", args[0], args[1], text, last)
}

// signal NAME SIGNAL sends a signal to a command that runs in the background.
func sendSignal(ts *testscript.TestScript, _ bool, args []string) {
	for _, c := range ts.BackgroundCmds() {
		ts.Check(c.Process.Signal(signals[args[0]]))
	}
}
