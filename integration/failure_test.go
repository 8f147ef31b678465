//go:build boots

package integration

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"ravenboot/integration/fixture"
	"ravenboot/integration/lab"
)

// plainProfile is a profile on a server without Nix: directories with a
// generation's files.
func plainProfile(t *testing.T, l *lab.Lab, g fixture.Generation) (profile *profile, kernel string) {
	t.Helper()
	toplevel, err := nixStore(t).Build(g)
	check(t, err)
	p := newProfile(t, l, 0)
	dir := p.Path + "-1-link"
	check(t, os.MkdirAll(dir, 0o755))
	for _, name := range []string{"kernel", "initrd", "boot.json", "kernel-params", "init", "system", "nixos-version"} {
		content, err := os.ReadFile(filepath.Join(toplevel, name))
		check(t, err)
		check(t, os.WriteFile(filepath.Join(dir, name), content, 0o644))
	}
	check(t, os.Symlink(filepath.Base(dir), p.Path))
	return p, filepath.Join(dir, "kernel")
}

// TestKernelMissing takes the kernel away while the machine sits in the menu,
// and puts it back after the machine has complained.
func TestKernelMissing(t *testing.T) {
	t.Parallel()
	l := lab.New(t, 1)
	g := generation(1)
	p, kernel := plainProfile(t, l, g)
	server := l.Serve(config(dhcpServer, slowMenu, forEveryone, p.toml()))

	m := l.Boot(lab.Spec{Path: "ROM iPXE, kernel missing, then back"})
	m.ExpectMenu("26.05.1")
	check(t, os.Rename(kernel, kernel+".away"))
	m.Send(lab.Enter)
	server.ExpectLog(lab.Patience, lab.MAC(1), "boot")
	m.Expect("FAILED: the kernel did not arrive")
	m.Expect("FAILED: the kernel did not arrive (error") // a second time
	check(t, os.Rename(kernel+".away", kernel))
	s := booted(m)
	if s.Args["lab.generation"] != "gen-1" {
		t.Errorf("command line: %s", s.Line)
	}
	m.Off()
}

// TestServerKilled cuts the server's power between the loader and the script.
func TestServerKilled(t *testing.T) {
	t.Parallel()
	l := lab.New(t, 1)
	p := newProfile(t, l, 1)
	newest := p.publish(generation(2))
	server := l.Serve(config(dhcpServer, quickMenu, forEveryone, loaders(t, fixture.Trixie), p.toml()))

	m := l.Boot(lab.Spec{Firmware: lab.UEFI, Path: "snponly.efi, server killed under it"})
	m.Expect("iPXE initialising devices")
	server.Kill()
	time.Sleep(5 * time.Second)
	l.Restart(server)
	booted(m).runs(t, "gen-2", newest, lab.MAC(1))
	m.Off()
}
