package main

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"
)

var versionCommand = command{
	name:    "version",
	summary: "prints the build",
	example: "  ravenboot version\n  ravenboot version -json\n",
	flags:   jsonFlag,
	run:     printVersion,
}

// build is what the Go tool wrote into the program.
type build struct {
	Version  string `json:"version"` // module version or commit
	Commit   string `json:"commit,omitempty"`
	Modified bool   `json:"modified,omitempty"` // built from a tree with changes
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func thisBuild() build {
	b := build{Version: "devel", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		b.Version = v
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

func printVersion(_ context.Context, c *invocation) error {
	b := thisBuild()
	if c.json {
		return json.NewEncoder(c.stdout).Encode(b)
	}
	_, err := fmt.Fprintf(c.stdout, "ravenboot %s (%s, %s)\n", b.Version, b.Go, b.Platform)
	return err
}
