package generation

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

const (
	// maxInitrd is the size in bytes from which an initrd is warned about: NixOS
	// breaks above about 2 GB (nixpkgs#203593), BIOS loads below 2 to 4 GB, and
	// iPXE and the kernel hold it twice for a moment.
	maxInitrd = 1 << 30

	// maxSpecialisations bounds a menu that a bootspec of MaxBootspec could
	// otherwise fill with thousands of lines.
	maxSpecialisations = 100
)

// toplevel is what a generation is apart from its profile, number and date.
type toplevel struct {
	System
	kernelVersion   string
	specialisations []Specialisation
	warnings        []error
}

// reader reads one toplevel.
type reader struct {
	*place
	secrets  bool // initrd secrets are allowed
	warnings []error
}

func (r *reader) warn(path string, f *flaw, format string, args ...any) {
	what := fmt.Sprintf(format, args...)
	r.warnings = append(r.warnings, &Warning{path, fmt.Errorf("%s: %w", what, f.err), f.advice})
}

func readToplevel(p *place, allowSecrets bool) (*toplevel, *flaw) {
	r := &reader{place: p, secrets: allowSecrets}
	spec, synthesised, err := readSpec(p.dir)
	if err != nil {
		return nil, unreadable(err)
	}
	if p.store != "" {
		p.relocate(spec.Toplevel)
	} else if synthesised && spec.Init == filepath.Join(p.dir, "init") && !exists(spec.Init) {
		r.warn(p.dir, flawed("add a boot.json, or init= to kernel-params", "nothing says which system is meant"),
			"machines are sent init=%s", spec.Init)
	}
	system, f := r.system(spec, p.dir)
	if f != nil {
		return nil, f
	}
	t := &toplevel{System: system, kernelVersion: labelKernel(spec.Label)}
	if t.kernelVersion == "" {
		t.kernelVersion = kernelRelease(p.dir)
	}
	t.specialisations = r.specialisations(spec, synthesised)
	t.warnings = r.warnings
	return t, nil
}

func unreadable(err error) *flaw {
	return &flaw{err, "finish copying the system, or delete the generation"}
}

// system checks that what a bootspec declares is there and may be served.
// Beside is the directory that would hold copies of kernel and initrd.
func (r *reader) system(spec *Bootspec, beside string) (System, *flaw) {
	s := System{
		Toplevel: spec.Toplevel, Init: spec.Init,
		KernelParams: spec.KernelParams, Label: spec.Label, System: spec.System,
	}
	if spec.InitrdSecrets != "" && !r.secrets {
		return s, flawed("remove boot.initrd.secrets from the system, or set allow_secrets = true for the profile",
			"it has initrd secrets (%s), which everybody on the network could read", spec.InitrdSecrets)
	}
	var f *flaw
	if s.Kernel, f = r.file(spec.Kernel, filepath.Join(beside, "kernel")); f != nil {
		return s, flawed(f.advice, "kernel: %w", f.err)
	}
	if spec.Initrd != "" {
		if s.Initrd, f = r.file(spec.Initrd, filepath.Join(beside, "initrd")); f != nil {
			return s, flawed(f.advice, "initrd: %w", f.err)
		}
		r.checkSize(s.Initrd)
	}
	// In a plain directory init stays on the machine's own disk.
	if r.store != "" {
		if _, f = r.file(spec.Init, ""); f != nil {
			return s, flawed(f.advice, "init: %w", f.err)
		}
	}
	return s, nil
}

func (r *reader) checkSize(initrd string) {
	info, err := os.Stat(initrd)
	if err != nil || info.Size() <= maxInitrd {
		return
	}
	r.warn(initrd, flawed("keep it small: the closure can be fetched after the kernel has started",
		"larger than 1 GiB, which many machines can't boot"), "%d MiB", info.Size()>>20)
}

// specialisations reads one level of them: those of a specialisation itself are
// not on offer, as with all NixOS boot loaders. A bad one leaves out only itself.
func (r *reader) specialisations(spec *Bootspec, synthesised bool) []Specialisation {
	dir := filepath.Join(r.dir, "specialisation")
	names := slices.Sorted(maps.Keys(spec.Specialisations))
	if synthesised {
		names = directoryNames(dir)
	}
	if len(names) > maxSpecialisations {
		r.warn(r.dir, flawed("remove some", "only %d are offered", maxSpecialisations), "%d specialisations", len(names))
		names = names[:maxSpecialisations]
	}
	var all []Specialisation
	for _, name := range names {
		system, f := r.specialisation(spec, name, filepath.Join(dir, name))
		if f != nil {
			r.warn(r.dir, f, "specialisation %q left out", shorten(name))
			continue
		}
		all = append(all, Specialisation{name, system})
	}
	return all
}

func (r *reader) specialisation(parent *Bootspec, name, dir string) (System, *flaw) {
	// The name is part of URLs and of entry IDs.
	if !isStoreName(name) || name[0] == '.' {
		return System{}, flawed("rename it: letters, digits and +-._?= are allowed", "its name can't be part of a URL")
	}
	var spec *Bootspec
	var err error
	if document, ok := parent.Specialisations[name]; ok {
		spec, err = ParseBootspec(document)
	} else {
		spec, err = readLinkedSpec(dir)
	}
	if err != nil {
		return System{}, unreadable(err)
	}
	return r.system(spec, dir)
}

func readLinkedSpec(link string) (*Bootspec, error) {
	dir, err := filepath.EvalSymlinks(link)
	if err != nil {
		return nil, err
	}
	spec, _, err := readSpec(dir)
	return spec, err
}

func directoryNames(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil // most systems have none; an unreadable one can't be named
	}
	names := make([]string, len(entries))
	for i, entry := range entries {
		names[i] = entry.Name()
	}
	return names
}
