package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// closureBench is a system on a server, and who downloads it.
type closureBench struct {
	*bench
	store    *nixStore
	toplevel string
	size     closureSize // as it has come out
	key      string      // public
	keyFile  string
	checked  map[string]bool // clients whose work Nix has verified
}

// benchClosure downloads a system of 300 paths into memory and onto the disk.
func benchClosure(b *bench) error {
	size := closureSize{paths: 300, files: 68_000, bytes: 1_100_000_000}
	if b.quick {
		size = closureSize{paths: 30, files: 3000, bytes: 50_000_000}
	}
	c, err := b.newClosureBench(size)
	if err != nil {
		return err
	}
	defer func() { _ = c.store.remove() }()
	fmt.Printf("\nThe closure: %d paths, %d files, %.0f MB of NARs.\n", c.size.paths, c.size.files, float64(c.size.bytes)/1e6)
	for _, compression := range []string{"none", "zstd"} {
		for _, place := range []string{"tmpfs", "disk"} {
			if err := c.run(compression, place); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *bench) newClosureBench(size closureSize) (*closureBench, error) {
	dir, err := os.MkdirTemp("", "rbnix")
	if err != nil {
		return nil, err
	}
	c := &closureBench{bench: b, store: &nixStore{dir, b.self}, checked: map[string]bool{}}
	if c.toplevel, err = c.store.build(size, 0, ""); err != nil {
		return nil, err
	}
	if c.size, err = c.store.measured(c.toplevel); err != nil {
		return nil, err
	}
	c.keyFile = filepath.Join(dir, "key")
	if _, err := c.store.run("nix-store", "--generate-binary-cache-key", "bench-1", c.keyFile, c.keyFile+".pub"); err != nil {
		return nil, err
	}
	public, err := os.ReadFile(c.keyFile + ".pub")
	c.key = strings.TrimSpace(string(public))
	return c, err
}

// run compares the clients with one compression and one kind of disk.
func (c *closureBench) run(compression, place string) error {
	all, err := c.inTurn([]subject{
		c.client("ravenboot-client", compression, place, c.byRavenboot),
		c.client("nix copy", compression, place, c.byNixCopy),
		c.client("nix-store -r -j16", compression, place, c.byNixStore),
	})
	if err != nil {
		return err
	}
	print(fmt.Sprintf("Closure, %s, %s", map[string]string{"tmpfs": "into a tmpfs", "disk": "onto the disk, durable"}[place], compression), all,
		column{"seconds", func(s sample) float64 { return float64(c.size.bytes) / 1e6 / s.rate }, "%.1f"},
		rateColumn("MB/s"), cpuColumn("client's CPU s", float64(c.size.bytes), "%.2f"),
		column{"server's CPU s", func(s sample) float64 { return s.serverCPU }, "%.2f"}, memoryColumn)
	return nil
}

// client is one that takes turns: it starts with an empty root, and a server
// that has sent nothing yet.
func (c *closureBench) client(name, compression, place string, command func(url, root string) *exec.Cmd) subject {
	return subject{name, func() (s sample, err error) {
		root, drop, err := c.newRoot(place)
		if err != nil {
			return s, err
		}
		defer func() { err = errors.Join(err, drop()) }()
		server, url, err := c.serveCache(compression)
		if err != nil {
			return s, err
		}
		defer server.stop()
		before, err := server.usage()
		if err != nil {
			return s, err
		}
		cmd := command(url, root)
		begun := time.Now()
		out, err := cmd.CombinedOutput()
		if err != nil {
			return s, fmt.Errorf("%w\n%s", err, out)
		}
		if place == "disk" {
			// ravenboot-client has done this by itself; again it costs nothing.
			if err := syncFS(root); err != nil {
				return s, err
			}
		}
		seconds := time.Since(begun).Seconds()
		after, err := server.usage()
		if err != nil {
			return s, err
		}
		used := cmd.ProcessState.SysUsage().(*syscall.Rusage)
		s.rate = float64(c.size.bytes) / 1e6 / seconds
		s.cpu = (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds() / float64(c.size.bytes)
		s.serverCPU = (after.cpu - before.cpu).Seconds()
		s.memory = float64(used.Maxrss) / 1024
		return s, c.check(name, root)
	}}
}

// newRoot makes an empty root, on memory or on the disk.
func (c *closureBench) newRoot(place string) (root string, drop func() error, err error) {
	root = c.subdir()
	if place == "tmpfs" {
		if err := unix.Mount("tmpfs", root, "tmpfs", 0, "size=4g"); err != nil {
			return "", nil, fmt.Errorf("mount: %w", err)
		}
		return root, func() error { return unix.Unmount(root, 0) }, nil
	}
	return root, func() error {
		return errors.Join((&nixStore{dir: root}).remove(), syncFS(c.dir))
	}, nil
}

func syncFS(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return unix.Syncfs(int(dir.Fd()))
}

// serveCache starts ravenboot with the closure on offer.
func (c *closureBench) serveCache(compression string) (*process, string, error) {
	port, dir := freePort(), c.subdir()
	key, err := os.ReadFile(c.keyFile)
	if err != nil {
		return nil, "", err
	}
	if _, err := write(dir, "state/cache.key", string(key)); err != nil {
		return nil, "", err
	}
	if err := os.Chmod(filepath.Join(dir, "state/cache.key"), 0o600); err != nil {
		return nil, "", err
	}
	if err := os.Symlink(c.toplevel, filepath.Join(dir, "lab-1-link")); err != nil {
		return nil, "", err
	}
	config, err := write(dir, "ravenboot.toml", fmt.Sprintf(`%s[http]
listen = "127.0.0.1:%d"
[admin]
listen = ""
[cache]
enabled = true
store = %q
compression = %q
[[profile]]
name = "lab"
path = "lab"
`, off, port, c.store.store(), compression))
	if err != nil {
		return nil, "", err
	}
	p, err := c.startWith(c.store.environment(), c.ravenboot, "serve", "-config", config)
	if err != nil {
		return nil, "", err
	}
	url := fmt.Sprintf("http://127.0.0.1:%d/cache", port)
	hash, _, _ := strings.Cut(filepath.Base(c.toplevel), "-")
	err = p.until(func() error {
		r, err := http.Get(url + "/" + hash + ".narinfo")
		if err != nil {
			return err
		}
		r.Body.Close()
		if r.StatusCode != http.StatusOK {
			return errors.New(r.Status)
		}
		return nil
	})
	return p, url, err
}

func (c *closureBench) byRavenboot(url, root string) *exec.Cmd {
	return exec.Command(c.clientProgram, "closure", "-cmdline", "/dev/null", "-cache", url, "-root", root,
		"-toplevel", c.toplevel, "-public-key", c.key)
}

// local is a machine's store as Nix takes it.
func (c *closureBench) local(root string) string {
	return "local?root=" + root + "&store=" + c.store.store() + "&state=" + filepath.Join(root, filepath.Dir(c.store.store()), "var/nix") +
		"&real=" + filepath.Join(root, c.store.store())
}

func (c *closureBench) byNixCopy(url, root string) *exec.Cmd {
	return c.nix(root, "nix", "--extra-experimental-features", "nix-command", "copy", "--from", url, "--to", c.local(root),
		"--option", "trusted-public-keys", c.key, c.toplevel)
}

func (c *closureBench) byNixStore(url, root string) *exec.Cmd {
	cmd := c.nix(root, "nix-store", "-r", "-j16", "--option", "substituters", url, "--option", "trusted-public-keys", c.key, c.toplevel)
	cmd.Env = append(cmd.Env, "NIX_REMOTE="+c.local(root))
	return cmd
}

// nix is one of Nix's commands, for whom nothing is known beforehand: it keeps
// narinfos in its home.
func (c *closureBench) nix(root string, argv ...string) *exec.Cmd {
	cmd := exec.Command(argv[0], argv[1:]...)
	home := filepath.Join(root, "home")
	cmd.Env = append(os.Environ(), "NIX_STORE_DIR="+c.store.store(), "NIX_STATE_DIR="+home, "NIX_LOG_DIR="+home, "NIX_CONF_DIR="+home,
		"NIX_PATH=", "NIX_REMOTE=", "HOME="+home, "XDG_CACHE_HOME="+home)
	return cmd
}

// check counts what has arrived, and has Nix verify it once for each client.
func (c *closureBench) check(client, root string) error {
	there, err := filepath.Glob(filepath.Join(root, c.store.store(), "*-*"))
	if err != nil || len(there) != c.size.paths {
		return fmt.Errorf("%s has left %d paths, want %d (%v)", client, len(there), c.size.paths, err)
	}
	argv := []string{"nix-store", "--check-validity", c.toplevel}
	if !c.checked[client] {
		c.checked[client] = true
		argv = []string{"nix-store", "--verify", "--check-contents"}
	}
	cmd := c.nix(root, argv...)
	cmd.Env = append(cmd.Env, "NIX_REMOTE="+c.local(root))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(argv, " "), err, out)
	}
	return nil
}
