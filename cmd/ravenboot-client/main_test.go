package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"ravenboot/internal/client/store"
	"ravenboot/internal/report"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"ravenboot-client": main, "exitcode": exitCode})
}

// exitCode CODE COMMAND... fails unless the command exits with the code.
func exitCode() {
	cmd := exec.Command(os.Args[2], os.Args[3:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	_ = cmd.Run() // its code is what counts
	if got := strconv.Itoa(cmd.ProcessState.ExitCode()); got != os.Args[1] {
		fmt.Fprintf(os.Stderr, "exit code %s, want %s\n", got, os.Args[1])
		os.Exit(1)
	}
}

// TestCommands runs the stories in testdata.
func TestCommands(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"server":    startServer,
			"system":    publishSystem,
			"loop":      makeLoop,
			"foreign":   makeForeign,
			"unchanged": isUnchanged,
			"approve": func(ts *testscript.TestScript, _ bool, _ []string) {
				ts.Check(os.WriteFile(ts.MkAbs("approved"), nil, 0o600))
			},
			"disk":  func(ts *testscript.TestScript, neg bool, args []string) { onDisk(ts, neg, "disk", args) },
			"disk2": func(ts *testscript.TestScript, neg bool, args []string) { onDisk(ts, neg, "disk2", args) },
		},
	})
}

// expand puts $SERVER, $SYSTEM and $KEY into the story's command lines.
func expand(ts *testscript.TestScript) {
	names, err := os.ReadDir(ts.MkAbs("."))
	ts.Check(err)
	for _, name := range names {
		if !name.Type().IsRegular() || name.Name() == "reports" {
			continue
		}
		file := ts.MkAbs(name.Name())
		text, err := os.ReadFile(file)
		ts.Check(err)
		ts.Check(os.WriteFile(file, []byte(os.Expand(string(text), func(key string) string {
			if value := ts.Getenv(key); value != "" {
				return value
			}
			return "$" + key // it comes later
		})), 0o600))
	}
}

// server starts a server with the cache in cache/, which writes reports down
// into the file reports.
func startServer(ts *testscript.TestScript, _ bool, _ []string) {
	var lock sync.Mutex
	busy := true
	mux := http.NewServeMux()
	mux.Handle("/cache/", http.StripPrefix("/cache/", http.FileServer(http.Dir(ts.MkAbs("cache")))))
	mux.HandleFunc("POST /report", func(w http.ResponseWriter, r *http.Request) {
		lock.Lock()
		defer lock.Unlock()
		ticket := r.Header.Get("Authorization")
		switch {
		case ticket == "Bearer stale":
			http.Error(w, "no such ticket", http.StatusUnauthorized)
			return
		case ticket == "Bearer busy" && busy:
			busy = false
			http.Error(w, "later", http.StatusTooManyRequests)
			return
		}
		text, _ := io.ReadAll(r.Body)
		one, err := report.Parse(text)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		file, err := os.OpenFile(ts.MkAbs("reports"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err == nil {
			_, err = fmt.Fprintf(file, "%s %s %s %s\n", ticket, one.Step, one.Outcome, strings.ReplaceAll(one.Text, "\n", " "))
			err = errors.Join(err, file.Close())
		}
		if err != nil {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		_, err = os.Stat(ts.MkAbs("approved"))
		_ = json.NewEncoder(w).Encode(report.Reply{Approved: err == nil && one.Outcome == report.Refused})
	})
	server := httptest.NewServer(mux)
	ts.Defer(server.Close)
	ts.Setenv("SERVER", server.URL)
	expand(ts)
}

// system makes the directory system a store path, $SYSTEM, and copies it into
// cache/, signed with the key $KEY.
func publishSystem(ts *testscript.TestScript, _ bool, _ []string) {
	run := func(argv ...string) string {
		out, err := onStore(ts, "server", argv...)
		ts.Check(err)
		return out
	}
	key := ts.MkAbs("lab.key")
	system := run("nix-store", "--add", ts.MkAbs("system"))
	run("nix-store", "--generate-binary-cache-key", "lab-1", key, key+".pub")
	run("nix", "--extra-experimental-features", "nix-command", "copy", "--to", "file://"+ts.MkAbs("cache")+"?secret-key="+key, system)
	public, err := os.ReadFile(key + ".pub")
	ts.Check(err)
	ts.Setenv("SYSTEM", system)
	ts.Setenv("KEY", string(public))
	expand(ts)
}

// onDisk asks Nix about the store of a disk.
func onDisk(ts *testscript.TestScript, neg bool, disk string, argv []string) {
	if _, err := onStore(ts, disk, argv...); (err != nil) != neg {
		ts.Fatalf("%v", err)
	}
}

func onStore(ts *testscript.TestScript, root string, argv ...string) (string, error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	home := ts.Getenv("WORK")
	cmd.Env = append(os.Environ(), "NIX_REMOTE="+store.At(filepath.Join(home, root), "/nix/store").URL(), "NIX_CONF_DIR="+home, "HOME="+home)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s: %w (apt-get install nix-bin, if it is missing)\n%s", strings.Join(argv, " "), err, said.String())
	}
	return strings.TrimSpace(string(out)), err
}
