package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestGarbageCollector asks running servers how often they collect garbage.
func TestGarbageCollector(t *testing.T) {
	for name, c := range map[string]struct {
		env  string
		want int
	}{
		"by itself":            {"GOGC=", gcPercent},
		"by the administrator": {"GOGC=150", 150},
	} {
		t.Run(name, func(t *testing.T) {
			admin := mustFreePort(t)
			dir := serveDir(t, localServices(mustFreePort(t), admin, mustFreePort(t)))
			d := startServe(t, dir, func(cmd *exec.Cmd) { cmd.Env = append(os.Environ(), c.env) })
			d.expect("dhcp off")
			scrape := fetch(t, fmt.Sprintf("http://127.0.0.1:%d/metrics", admin))
			if want := fmt.Sprintf("go_gc_gogc_percent %d\n", c.want); !strings.Contains(scrape, want) {
				t.Errorf("the scrape has no %q", want)
			}
			d.stop()
		})
	}
}
