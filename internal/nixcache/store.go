package nixcache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"ravenboot/internal/narinfo"
)

// store is a Nix store with its tools.
type store struct {
	dir  string
	tool string   // nix-store
	env  []string // beyond the process's own
}

// callSize is how many paths one call of nix-store is given: with 250 bytes each,
// far below what Linux takes as arguments.
const callSize = 2000

// toolTime is how long one call may take: a second for thousands of paths, but
// a database that the garbage collector has locked is waited for.
const toolTime = 5 * time.Minute

// toolPlaces is where nix-store is when PATH doesn't tell, as under systemd.
var toolPlaces = []string{
	"/run/current-system/sw/bin/nix-store",
	"/nix/var/nix/profiles/default/bin/nix-store",
	"/usr/bin/nix-store",
}

// findTool finds nix-store. Wanted is a path, or "" to look for it.
func findTool(wanted string) (string, error) {
	if wanted != "" {
		return exec.LookPath(wanted)
	}
	for _, place := range append([]string{"nix-store"}, toolPlaces...) {
		if tool, err := exec.LookPath(place); err == nil && filepath.IsAbs(tool) {
			return tool, nil
		}
	}
	return "", errors.New("nix-store is neither in PATH nor where NixOS and Nix's installer put it")
}

// requisites lists the closure of a path, the path itself among it.
func (s *store) requisites(ctx context.Context, base string) ([]string, error) {
	out, err := s.run(ctx, "--query", "--requisites", s.path(base))
	if err != nil {
		return nil, err
	}
	var closure []string
	for path := range strings.Lines(string(out)) {
		member, err := narinfo.BaseOf(s.dir, strings.TrimSuffix(path, "\n"))
		if err != nil {
			return nil, err
		}
		closure = append(closure, member)
	}
	return closure, nil
}

// facts asks what the database says of paths, in their order.
func (s *store) facts(ctx context.Context, bases []string) ([]narinfo.Facts, error) {
	args := []string{"--dump-db"}
	for _, base := range bases {
		args = append(args, s.path(base))
	}
	out, err := s.run(ctx, args...)
	if err != nil {
		return nil, err
	}
	all, err := parseRegistration(bytes.NewReader(out), s.dir)
	if err != nil {
		return nil, fmt.Errorf("what nix-store --dump-db printed, %w", err)
	}
	if len(all) != len(bases) {
		return nil, fmt.Errorf("nix-store --dump-db told of %d paths, not of %d", len(all), len(bases))
	}
	return all, nil
}

func (s *store) path(base string) string { return filepath.Join(s.dir, base) }

func (s *store) run(ctx context.Context, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, toolTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.tool, args...)
	cmd.Env = append(cmd.Environ(), s.env...)
	cmd.WaitDelay = time.Second
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w: %s", s.tool, args[0], err, shorten(strings.TrimSpace(said.String())))
	}
	return out, nil
}

// stamp tells whether a store object is the one that was asked about: one that
// was collected as garbage and built again may have another content.
type stamp struct {
	Inode   uint64 `json:"inode"`
	Changed int64  `json:"changed"` // ctime, nanoseconds since 1970
}

func (s *store) stamp(base string) (stamp, error) {
	info, err := os.Lstat(s.path(base))
	if err != nil {
		return stamp{}, err
	}
	return stampIn(info), nil
}

// stampOf follows symlinks.
func stampOf(path string) (stamp, error) {
	info, err := os.Stat(path)
	if err != nil {
		return stamp{}, err
	}
	return stampIn(info), nil
}

func stampIn(info os.FileInfo) stamp {
	stat := info.Sys().(*syscall.Stat_t) // as it is on Linux
	return stamp{stat.Ino, stat.Ctim.Nano()}
}
