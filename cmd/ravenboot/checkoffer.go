package main

import (
	"fmt"
	"os"

	"ravenboot/assets"
	"ravenboot/internal/boot"
	"ravenboot/internal/config"
	"ravenboot/internal/generation"
	"ravenboot/internal/machine"
)

// checkLoaders wants a loader for the two firmwares that every lab has.
// Others are for those who have such machines to know.
func (f *findings) checkLoaders(cfg *config.Config) {
	loaders := assets.FindLoaders(cfg.Loaders.Dirs)
	for _, l := range loaders.List() {
		f.ok("loader "+l.Name, "%s, %d bytes", l.Path, l.Size)
	}
	for _, problem := range loaders.Problems() {
		f.warn("loaders", "%s", problem)
	}
	for _, m := range loaders.Missing() {
		say := f.warn
		if m.Replaced || m.Arch != machine.X86_64 {
			say = f.note
		}
		say("loader "+m.Name, "not found; for %s %s machines: %s", m.Firmware, m.Arch, m.Advice)
	}
	for _, firmware := range []machine.Firmware{machine.BIOS, machine.EFI} {
		if !hasAny(loaders, boot.LoaderNames(firmware, machine.X86_64)) {
			f.fail("loaders", "none for %s %s: such machines will be refused; install the ipxe package, or name its directory in [loaders] dirs",
				firmware, machine.X86_64)
		}
	}
	for _, h := range cfg.Boot.Hosts {
		if h.Loader != "" && !loaders.Has(h.Loader) {
			f.fail("host "+h.Name, "loader %q is in none of the loader directories", h.Loader)
		}
	}
}

func hasAny(loaders *assets.Loaders, names []string) bool {
	for _, name := range names {
		if loaders.Has(name) {
			return true
		}
	}
	return false
}

func (f *findings) checkProfiles(cfg *config.Config) {
	if len(cfg.Boot.Profiles) == 0 {
		f.warn("profiles", "none: machines are offered images and their local disk only; add a [[profile]]")
	}
	for _, p := range cfg.Boot.GenerationProfiles() {
		subject := "profile " + p.Name
		generations, warnings, err := generation.Scan(p)
		for _, w := range warnings {
			f.warn(subject, "%v", w)
		}
		switch {
		case err != nil:
			f.fail(subject, "%v", err)
		case len(generations) == 0:
			f.fail(subject, "no generation in %s; make one with nix-env -p %s --set TOPLEVEL", p.Path, p.Path)
		default:
			f.ok(subject, "%d generations, newest %d: %s", len(generations), generations[0].Number, generations[0].Label)
		}
	}
}

// checkDefaults asks for every host's menu what its default comes to.
func (f *findings) checkDefaults(cfg *config.Config) {
	catalog, err := generation.NewCatalog(cfg.Boot.GenerationProfiles(), discard)
	if err != nil {
		f.fail("profiles", "%v", err)
		return
	}
	decider := boot.New(cfg.Boot, catalog, assets.FindLoaders(nil))
	for i := range cfg.Boot.Hosts {
		h := &cfg.Boot.Hosts[i]
		m := machine.Machine{UUID: h.UUID, Addr: h.Addr}
		if len(h.MACs) > 0 {
			m.MAC = h.MACs[0]
		}
		if plan := decider.Menu(m); plan.Fallback {
			f.warn("host "+h.Name, "%s", plan.Reason)
		}
	}
}

func (f *findings) checkImages(cfg *config.Config) {
	for i := range cfg.Boot.Images {
		image := &cfg.Boot.Images[i]
		subject, good := "image "+image.Name, true
		for _, path := range image.Paths() {
			if err := readable(path); err != nil {
				f.fail(subject, "%v; put the file there, or correct the [[image]]", err)
				good = false
			}
		}
		if good {
			f.ok(subject, "%d files", len(image.Paths()))
		}
	}
}

func readable(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file", path)
	}
	return err
}
