package closure

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"ravenboot/internal/client/store"
)

// RunNix does what Run does with the Nix that is in the initrd, whose messages
// go to out. Memory, room, a lost connection and a power cut are in Nix's hands
// then; only the profile is not.
func (c *Closure) RunNix(ctx context.Context, out io.Writer) error {
	s := store.At(c.config.Root, c.fetch.storeDir)
	cmd := exec.CommandContext(ctx, "nix", c.nixArguments(s)...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Env = append(os.Environ(), "NIX_STORE_DIR="+c.fetch.storeDir)
	if os.Getenv("HOME") == "" {
		cmd.Env = append(cmd.Env, "HOME=/root") // Nix refuses to run without
	}
	if err := cmd.Run(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return fmt.Errorf("%w: put Nix into the initrd, or use the engine native", err)
		}
		return fmt.Errorf("nix copy: %w; what it says is above", err)
	}
	return c.finish(s)
}

func (c *Closure) nixArguments(s *store.Store) []string {
	keys := make([]string, len(c.config.Keys))
	for i, key := range c.config.Keys {
		keys[i] = key.String()
	}
	return []string{
		"--extra-experimental-features", "nix-command", "copy", "--from", strings.TrimSuffix(c.fetch.cache.base.String(), "/"),
		"--to", s.URL(), "--option", "trusted-public-keys", strings.Join(keys, " "),
		// By default Nix registers what isn't on the disk yet. After a power cut
		// those are empty files that every later boot takes for valid. Nix 2.26
		// knows the option; 2.8 only warns, and is without that.
		"--option", "fsync-store-paths", "true", c.config.Toplevel,
	}
}
