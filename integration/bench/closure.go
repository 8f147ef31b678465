package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// benchClosure downloads a system of the size of a small desktop's to a machine's
// root, in memory and on a disk, as fast as the machine can.
func benchClosure(b *bench) error {
	if err := onDisk(b.dir); err != nil {
		return err
	}
	c := b.closures()
	systems, err := c.generationsOf(c.large(), 1)
	if err != nil {
		return err
	}
	for _, place := range places {
		for _, compression := range compressions {
			if err := c.local(compression, place, systems[0]); err != nil {
				return err
			}
		}
	}
	return nil
}

// benchWire downloads the same over a gigabit, then with small paths beside, and
// then such paths alone.
func benchWire(b *bench) error {
	c := b.closures()
	for _, load := range []struct {
		size        systemSize
		compression string
	}{
		{c.large(), "none"}, {c.large(), "zstd"}, {c.mixed(), "none"}, {c.small(), "none"},
	} {
		systems, err := c.generationsOf(load.size, 1)
		if err != nil {
			return err
		}
		if err := c.overWire(load.compression, systems[0]); err != nil {
			return err
		}
	}
	return nil
}

// benchSize measures disks, downloads and initrds in bytes.
func benchSize(b *bench) error {
	c := b.closures()
	count := tenGenerations
	if b.quick {
		count = 2
	}
	systems, err := c.generationsOf(c.large(), count)
	if err != nil {
		return err
	}
	if err := c.sizes(systems); err != nil {
		return err
	}
	return c.initrds()
}

// compressions are those that ravenboot's cache can send with.
var compressions = []string{"none", "zstd"}

// closures is the run's store, which all parts share.
func (b *bench) closures() *closureBench {
	if b.scratch == nil {
		b.scratch = &scratchStore{b.subdir()}
	}
	return &closureBench{bench: b, verified: map[string]bool{}}
}

// large is a system as a lab has it, if a small one.
func (b *bench) large() systemSize {
	if b.quick {
		return systemSize{paths: 30, files: 600, bytes: 20_000_000}
	}
	return systemSize{paths: 300, files: 68_000, bytes: 1_100_000_000}
}

// small is a system of which every path is small.
func (b *bench) small() systemSize {
	if b.quick {
		return systemSize{texts: 50}
	}
	return systemSize{texts: 2000}
}

// mixed is a large system with small paths beside, as most paths of a system are.
func (b *bench) mixed() systemSize {
	size := b.large()
	size.texts = b.small().texts
	return size
}

// closureBench is what downloads of closures have in common.
type closureBench struct {
	*bench
	verified map[string]bool // the engines whose result Nix has read whole
}

// local downloads over loopback.
func (c *closureBench) local(compression string, at place, system system) error {
	server, err := c.serveClosures(compression, nil, system)
	if err != nil {
		return err
	}
	defer server.stop()
	var subjects []subject
	for _, e := range engines {
		subjects = append(subjects, c.subject(e, server, at, system))
	}
	all, err := c.inTurn(subjects)
	if err != nil {
		return err
	}
	printTable(fmt.Sprintf("Closure of %d paths, %.2f GB of NARs, %s, onto %s",
		len(system.paths), float64(system.narSize)/1e9, compression, at.name), "client", all, secondsColumn, clientCPUColumn,
		column{"CPU s, server", func(s sample) float64 { return s.serverCPU }, "%.2f"}, memoryColumn)
	compare(all, "time")
	return nil
}

var (
	secondsColumn   = column{"seconds", func(s sample) float64 { return s.rate }, "%.2f"}
	clientCPUColumn = cpuColumn("CPU s, client", 1, "%.2f")
)

// engine is a program that downloads closures.
type engine struct {
	name    string
	durable bool // it syncs by itself before it says that it is done
	argv    func(b *bench, s *scratchStore, url, key, root, toplevel string) []string
}

var engines = []engine{
	{"ravenboot-client", true, func(b *bench, _ *scratchStore, url, key, root, toplevel string) []string {
		return []string{b.client, "closure", "-cmdline", os.DevNull, "-root", root, "-cache", url, "-toplevel", toplevel, "-public-key", key}
	}},
	{"nix copy", false, func(_ *bench, s *scratchStore, url, key, root, toplevel string) []string {
		return []string{"nix", "--extra-experimental-features", "nix-command", "copy", "--from", url, "--to", s.url(root), toplevel,
			"--option", "trusted-public-keys", key, "--option", "build-users-group", ""}
	}},
	{"nix-store -r -j16", false, func(_ *bench, s *scratchStore, url, key, root, toplevel string) []string {
		return []string{"nix-store", "--store", s.url(root), "-r", "-j16", toplevel, "--option", "substituters", url,
			"--option", "trusted-public-keys", key, "--option", "build-users-group", ""}
	}},
}

// place is what a machine's root is on.
type place struct {
	name  string
	disk  bool
	mount func(root string) (unmount func(), err error)
}

var places = []place{
	{"tmpfs", false, func(root string) (func(), error) {
		if err := unix.Mount("tmpfs", root, "tmpfs", 0, "size=4G,mode=755"); err != nil {
			return nil, fmt.Errorf("mount -t tmpfs %s: %w (run as root)", root, err)
		}
		return func() { _ = unix.Unmount(root, 0) }, nil
	}},
	{"the disk", true, mountImage},
}

// imageSize is room for the system, and for what ext4 itself takes.
const imageSize = 4 << 30

// mountImage mounts a new ext4 in a file beside root. On the file system of this
// machine, which deletes what a turn has left before the next begins, an ext4
// without a journal spends most of its time looking for inodes that were not
// deleted just now (recently_deleted), and a machine's disk has a journal.
func mountImage(root string) (unmount func(), err error) {
	image := root + ".ext4"
	file, err := os.Create(image)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if err := unix.Fallocate(int(file.Fd()), 0, 0, imageSize); err != nil {
		return nil, fmt.Errorf("fallocate %s: %w", image, err)
	}
	for _, argv := range [][]string{
		// Without the lazy start, the kernel would write inode tables during the turn.
		{"mkfs.ext4", "-q", "-F", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0", image},
		{"mount", "-o", "loop", image, root},
	} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%s: %w: %s (run as root)", argv[0], err, out)
		}
	}
	unmount = func() {
		// What fails here fails the next turn, which wants the same room.
		_ = exec.Command("umount", root).Run()
		_ = os.Remove(image)
	}
	return unmount, syncfs(filepath.Dir(root))
}

// onDisk refuses a directory in memory, whose figures would not be a disk's.
func onDisk(dir string) error {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return fmt.Errorf("statfs %s: %w", dir, err)
	}
	if stat.Type == unix.TMPFS_MAGIC || stat.Type == unix.OVERLAYFS_SUPER_MAGIC {
		return fmt.Errorf("%s is on no disk's file system; set TMPDIR to a directory that is", dir)
	}
	return nil
}

// syncfs waits until the file system that holds dir is on the disk.
func syncfs(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Syncfs(int(f.Fd()))
}

// subject is an engine that downloads a system from a server.
func (c *closureBench) subject(e engine, server *closureServer, at place, system system) subject {
	return subject{e.name, func() (sample, error) {
		root, home := c.subdir(), c.subdir() // a new home: Nix remembers narinfos in it
		defer os.RemoveAll(root)
		unmount, err := at.mount(root)
		if err != nil {
			return sample{}, err
		}
		defer unmount()
		before, err := server.usage()
		if err != nil {
			return sample{}, err
		}
		argv := server.over.atMachine(e.argv(c.bench, c.scratch, server.url, server.key, root, system.toplevel)...)
		s, err := c.fetch(argv, home, root, at.disk && !e.durable)
		if err != nil {
			return s, err
		}
		after, err := server.usage()
		if err != nil {
			return s, err
		}
		s.serverCPU = (after.cpu - before.cpu).Seconds()
		return s, c.check(e.name+" onto "+at.name, root, system)
	}}
}

// fetch runs a download to its end, and syncs after it where that is due.
func (c *closureBench) fetch(argv []string, home, root string, sync bool) (s sample, err error) {
	cmd := exec.CommandContext(c.ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), c.scratch.environment(home)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	begun := time.Now()
	if err := cmd.Start(); err != nil {
		return s, err
	}
	stop := watchMemory(cmd.Process.Pid, &s.memory)
	err = cmd.Wait()
	stop()
	if err != nil {
		text := said.String()
		return s, fmt.Errorf("%s: %w\n%s", strings.Join(argv, " "), err, text[max(0, len(text)-2000):])
	}
	if sync {
		if err := syncfs(root); err != nil {
			return s, err
		}
	}
	s.rate = time.Since(begun).Seconds()
	s.cpu = (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	return s, nil
}

// watchMemory keeps the peak of a process until the function that it returns is
// called. What wait4 tells won't do: to Linux the peak of a new process is that
// of whoever started it, at the least.
func watchMemory(pid int, peak *float64) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		ticker := time.NewTicker(10 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				*peak = max(*peak, peakMemory(fmt.Sprint(pid)))
			case <-done:
				return
			}
		}
	}()
	return func() { close(done); <-ended }
}

// check asks Nix whether all of the system is there, and reads it whole once for
// each engine.
func (c *closureBench) check(engine, root string, system system) error {
	if _, err := c.scratch.nix(c.bench, root, append([]string{"nix-store", "--check-validity"}, system.paths...)...); err != nil {
		return err
	}
	if c.verified[engine] {
		return nil
	}
	c.verified[engine] = true
	_, err := c.scratch.nix(c.bench, root, "nix-store", "--verify", "--check-contents")
	return err
}

// closureServer is ravenboot with a cache of the scratch store.
type closureServer struct {
	*process
	url, key string
	over     *wire // nil: loopback
}

// serveClosures starts ravenboot with these systems as generations, at the far end
// of a wire if there is one, and waits until it offers them all.
func (c *closureBench) serveClosures(compression string, over *wire, systems ...system) (*closureServer, error) {
	addr, space := fmt.Sprint("127.0.0.1:", freePort()), ""
	if over != nil {
		addr, space = farAddr+":80", over.far
	}
	config, err := c.closureLab(compression, addr, systems)
	if err != nil {
		return nil, err
	}
	key, err := exec.Command(c.ravenboot, "key", "-config", config).Output()
	if err != nil {
		return nil, fmt.Errorf("%s key: %w", c.ravenboot, err)
	}
	// The server's nix-store finds the store by these.
	argv := slices.Concat([]string{"env"}, c.scratch.environment(c.scratch.dir), []string{c.ravenboot, "serve", "-config", config})
	p, err := c.start(space, argv...)
	if err != nil {
		return nil, err
	}
	s := &closureServer{p, "http://" + addr + "/cache", strings.TrimSpace(string(key)), over}
	for _, system := range systems {
		if err := p.until(func() error { return c.offers(s, system.toplevel) }); err != nil {
			p.stop()
			return nil, err
		}
	}
	return s, nil
}

// offers is an error until the cache has a store path.
func (c *closureBench) offers(s *closureServer, path string) error {
	hash, _, _ := strings.Cut(filepath.Base(path), "-")
	argv := s.over.atMachine(c.self, "download", s.url+"/"+hash+".narinfo")
	if out, err := exec.CommandContext(c.ctx, argv[0], argv[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

func (c *closureBench) closureLab(compression, addr string, systems []system) (config string, err error) {
	dir := c.subdir()
	profiles := filepath.Join(dir, "profiles")
	if err := os.Mkdir(profiles, 0o755); err != nil {
		return "", err
	}
	for i, system := range systems {
		if err := os.Symlink(system.toplevel, filepath.Join(profiles, fmt.Sprintf("lab-%d-link", i+1))); err != nil {
			return "", err
		}
	}
	return write(dir, "ravenboot.toml", off+fmt.Sprintf(`[http]
listen = %q
[admin]
listen = ""
[cache]
enabled = true
store = %q
compression = %q
[[profile]]
name = "lab"
path = "profiles/lab"
keep = 0
`, addr, c.scratch.store(), compression))
}
