package config

import (
	"path/filepath"

	"ravenboot/internal/boot"
	"ravenboot/internal/generation"
	"ravenboot/internal/machine"
)

func (p *parser) menu() {
	m, c := &p.raw.Menu, &p.cfg.Boot.Menu
	const maxTitle = 80 // columns of a text screen
	if m.Title.set && (m.Title.value == "" || len(m.Title.value) > maxTitle) {
		p.wrong(m.Title.place, "has %d bytes; write 1 to %d, a screen has no more columns", len(m.Title.value), maxTitle)
	} else {
		readText(&c.Title, m.Title)
	}
	p.timeout(&c.Timeout, m.Timeout)
	readFlag(&c.Shell, m.Shell)
	p.number(&c.Rounds, m.Rounds, 1, 1000)
	oneOf(p, &p.cfg.Boot.Default.OnFailure, m.OnFailure, onFailures...)
}

func (p *parser) profiles() {
	names := make(seen[string])
	for i := range p.raw.Profile {
		r := &p.raw.Profile[i]
		profile := boot.Profile{
			Profile: generation.Profile{Name: p.entryName(r.Name, "profile"), Keep: defaultKeep},
			Args:    p.args(r.Args),
		}
		p.unique(names, profile.Name, r.Name.place)
		if r.Path.set {
			profile.Path = p.path(r.Path)
		} else {
			p.missing(r.Path.place, `write it as path = "/nix/var/nix/profiles/lab"`)
		}
		p.number(&profile.Keep, r.Keep, 0, 1000)
		readFlag(&profile.AllowSecrets, r.AllowSecrets)
		p.cfg.Boot.Profiles = append(p.cfg.Boot.Profiles, profile)
	}
}

func (p *parser) images() {
	names := make(seen[string])
	for i := range p.raw.Image {
		r := &p.raw.Image[i]
		image := boot.Image{
			Name:    p.entryName(r.Name, "image"),
			Label:   r.Label.value,
			Initrds: p.paths(r.Initrd),
			Args:    p.args(r.Args),
			Files:   p.paths(r.Files),
		}
		p.unique(names, image.Name, r.Name.place)
		p.program(r, &image)
		p.baseNames(r)
		for _, item := range r.Arch.items {
			image.Arch = append(image.Arch, p.arch(item))
		}
		for _, item := range r.Firmware.items {
			image.Firmware = append(image.Firmware, p.firmware(item))
		}
		p.cfg.Boot.Images = append(p.cfg.Boot.Images, image)
	}
}

// program reads what the image starts: a kernel, or a file to chain to.
func (p *parser) program(r *rawImage, image *boot.Image) {
	switch {
	case r.Kernel.set && r.Chain.set:
		p.wrong(r.Chain.place, "kernel is given too, in line %d; an image starts one of the two", r.Kernel.line)
	case r.Chain.set && len(r.Initrd.items) > 0:
		p.wrong(r.Initrd.place, "a chained file takes no initrd; list it in files, and let the chained script fetch it")
	case r.Chain.set:
		image.Chain = p.path(r.Chain)
	case r.Kernel.set:
		image.Kernel = p.path(r.Kernel)
	default:
		p.missing(r.Kernel.place, "name a kernel, or an EFI program or iPXE script as chain")
	}
}

// baseNames checks that each file of an image has a URL of its own.
func (p *parser) baseNames(r *rawImage) {
	files := append(append(append([]text(nil), r.Initrd.items...), r.Files.items...), r.Kernel, r.Chain)
	before := make(map[string]text)
	for _, file := range files {
		base := filepath.Base(file.value)
		if file.value == "" || !p.fileName(file.place, base) {
			continue
		}
		if other, yes := before[base]; yes {
			p.wrong(file.place, "%s and %s have the same file name, and would have the same URL; rename one or link to it", quoted(file.value), quoted(other.value))
			continue
		}
		before[base] = file
	}
}

func (p *parser) arch(t text) machine.Arch {
	if !t.set {
		return machine.ArchUnknown
	}
	a, err := machine.ParseArch(t.value)
	if err != nil {
		p.wrong(t.place, "%s is no architecture; write one of i386, x86_64, arm32, arm64, riscv32, riscv64, loong64", quoted(t.value))
	}
	return a
}

func (p *parser) firmware(t text) machine.Firmware {
	if !t.set {
		return machine.FirmwareUnknown
	}
	f, err := machine.ParseFirmware(t.value)
	if err != nil {
		p.wrong(t.place, `%s is no firmware; write "bios" or "efi"`, quoted(t.value))
	}
	return f
}
