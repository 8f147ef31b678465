package config

import (
	"slices"
	"strings"

	"ravenboot/internal/boot"
)

// settings reads what a host, a group and the default may each set.
func (p *parser) settings(r *rawSettings) boot.Settings {
	s := boot.Settings{
		Profile:  p.profileName(r.Profile),
		Args:     p.args(r.Args),
		Arch:     p.arch(r.Arch),
		Firmware: p.firmware(r.Firmware),
	}
	if r.Default.set {
		s.Choice = p.choice(r.Default)
	}
	if r.Timeout.set {
		s.Timeout = new(p.cfg.Boot.Menu.Timeout)
		p.timeout(s.Timeout, r.Timeout)
	}
	oneOf(p, &s.OnFailure, r.OnFailure, onFailures...)
	oneOf(p, &s.LocalBoot, r.LocalBoot, boot.LocalAuto, boot.LocalExit, boot.LocalSanboot)
	p.chainload(&s.Chainload, r.Chainload)
	if r.Loader.set && p.loaderName(r.Loader) {
		s.Loader = r.Loader.value
	}
	if r.NulTerminate.set {
		s.NulTerminate = new(r.NulTerminate.value)
	}
	return s
}

func (p *parser) profileName(t text) string {
	if !t.set {
		return ""
	}
	var known []string
	for i := range p.raw.Profile {
		if known = append(known, p.raw.Profile[i].Name.value); t.value == known[i] {
			return t.value
		}
	}
	p.wrong(t.place, "%s is no profile; %s", quoted(t.value), p.didYouMean(t.value, known, "[[profile]]"))
	return ""
}

// didYouMean is advice for a name that isn't there.
func (p *parser) didYouMean(name string, known []string, table string) string {
	known = slices.Compact(slices.Sorted(slices.Values(known)))
	known = slices.DeleteFunc(known, func(k string) bool { return k == "" })
	if near, ok := nearest(name, known); ok {
		return "do you mean " + quoted(near) + "?"
	}
	if len(known) == 0 || len(known) > 10 {
		return "add a " + table + " of that name"
	}
	return "known are " + list(known)
}

// choice reads a default, and refuses one that can never name anything.
// Whether a generation of that number exists changes with time; that is for
// `ravenboot check`.
func (p *parser) choice(t text) *boot.Choice {
	c, err := boot.ParseChoice(t.value)
	switch {
	case err != nil:
		p.wrong(t.place, `%s names no entry; write "latest", a number, "profile/number", "profile/number/specialisation", an image's name or "local"`, quoted(t.value))
	case c.Kind == boot.KindImage:
		p.imageChoice(t)
	case c.Kind == boot.KindGeneration && c.Profile != "":
		p.profileName(text{place: t.place, value: c.Profile, set: true})
	case c.Kind == boot.KindGeneration && len(p.raw.Profile) == 0:
		p.wrong(t.place, "%s is a generation, and there is no [[profile]]; add one", quoted(t.value))
	case c.Kind == boot.KindShell && !p.cfg.Boot.Menu.Shell:
		p.wrong(t.place, `"shell" is not in the menu; write shell = true in [menu]`)
	}
	return &c
}

func (p *parser) imageChoice(t text) {
	known := []string{"latest", "current", "local", "shell", "reboot", "poweroff"}
	for i := range p.raw.Image {
		if known = append(known, p.raw.Image[i].Name.value); p.raw.Image[i].Name.value == t.value {
			return
		}
	}
	for i := range p.raw.Profile {
		if p.raw.Profile[i].Name.value == t.value {
			p.wrong(t.place, "%q is a profile, not an entry of one; write %q", t.value, t.value+"/latest")
			return
		}
	}
	p.wrong(t.place, "%s names nothing; %s", quoted(t.value), p.didYouMean(t.value, known, "[[image]]"))
}

func (p *parser) loaderName(t text) bool {
	if strings.Contains(t.value, "/") {
		p.wrong(t.place, "%s is a path; write the file's name, and its directory into dirs of [loaders]", quoted(t.value))
		return false
	}
	if t.value == "autoexec.ipxe" {
		p.wrong(t.place, "autoexec.ipxe is made by the server itself; name an iPXE binary")
		return false
	}
	return p.fileName(t.place, t.value)
}

// defaults reads [default]. Its settings hold for every machine that no host
// and no group says otherwise for; what it leaves out is the lab-wide value of
// [menu] and [dhcp].
func (p *parser) defaults() {
	r, c := &p.raw.Default, &p.cfg.Boot.Default
	oneOf(p, &c.Action, r.Action, boot.ActionMenu, boot.ActionLocal, boot.ActionIgnore)
	general := c.Settings
	c.Settings = p.settings(&r.rawSettings)
	if c.OnFailure == "" {
		c.OnFailure = general.OnFailure
	}
	if c.LocalBoot == "" {
		c.LocalBoot = general.LocalBoot
	}
	if c.Chainload == "" {
		c.Chainload = general.Chainload
	}
}
