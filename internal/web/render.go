package web

import (
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"ravenboot/bootscript"
	"ravenboot/internal/boot"
	"ravenboot/internal/machine"
)

// Render makes the script that answers a query. base is the address of the
// boot side, as BaseURL makes it.
func (s *Scripts) Render(q Query, base string) Script { return s.render(q, base, new(scratch)) }

// scratch is memory that one script after another is made in: without it, a
// thousand machines that ask for their menus keep the garbage collector busy.
type scratch struct {
	items []bootscript.Item
	text  []byte
}

func (s *Scripts) render(q Query, base string, mem *scratch) Script {
	m := q.Machine
	if m.MAC.IsZero() && !m.UUID.IsKnown() {
		return identify(base)
	}
	self := base + "/boot.ipxe?" + selfQuery(m)
	if q.Entry != "" {
		return s.boot(q, base, self)
	}
	plan := s.decider.Menu(m)
	if plan.Refused {
		return failure(http.StatusNotFound, plan.Reason, self)
	}
	script := Script{Status: http.StatusOK, Kind: "menu", Reason: plan.Reason, Entry: plan.Entries[plan.Default].ID}
	if plan.Direct {
		local := bootscript.Local{Fallback: fallback(&plan, self)}
		script.Kind, script.Text = "boot", local.Render()
		return script
	}
	menu := menuOf(&plan, m, base, self, mem.items[:0])
	mem.items = menu.Items
	mem.text = menu.AppendTo(mem.text[:0])
	script.Text = mem.text
	return script
}

// selfQuery repeats what the machine said of itself, so that the next script is
// decided on the same grounds. The serial number decides nothing.
func selfQuery(m machine.Machine) string {
	var b strings.Builder
	add := func(name, value string) {
		if value == "" {
			return
		}
		if b.Len() > 0 {
			b.WriteByte('&')
		}
		b.WriteString(name)
		b.WriteByte('=')
		b.WriteString(value)
	}
	if !m.MAC.IsZero() {
		add("mac", m.MAC.String())
	}
	for _, other := range m.Others {
		add("mac", other.String())
	}
	if m.UUID.IsKnown() {
		add("uuid", m.UUID.String())
	}
	add("arch", string(m.Arch))
	add("platform", string(m.Firmware))
	return b.String()
}

func identify(base string) Script {
	i := bootscript.Identify{URL: base + "/boot.ipxe"}
	return Script{Text: i.Render(), Status: http.StatusOK, Kind: "identify", Reason: "no MAC was given, so iPXE is asked who it is"}
}

func autoexec(base string) Script {
	a := bootscript.Autoexec{URL: base + "/boot.ipxe"}
	return Script{Text: a.Render(), Status: http.StatusOK, Kind: "autoexec", Reason: "the loader asked for it"}
}

func failure(status int, reason, self string) Script {
	f := bootscript.Failure{Reason: reason, URL: self}
	return Script{Text: f.Render(), Status: status, Kind: "error", Reason: reason}
}

func fallback(p *boot.MenuPlan, self string) bootscript.Fallback {
	return bootscript.Fallback{
		Rounds:    p.Rounds,
		OnFailure: bootscript.OnFailure(p.OnFailure),
		Local:     bootscript.LocalBoot(p.LocalBoot),
		Menu:      self,
	}
}

func menuOf(p *boot.MenuPlan, m machine.Machine, base, self string, items []bootscript.Item) *bootscript.Menu {
	menu := &bootscript.Menu{
		Title:    p.Title,
		Machine:  p.Name,
		Server:   strings.TrimPrefix(base, "http://"),
		Items:    slices.Grow(items, len(p.Entries)+2),
		Default:  escapeID(p.Entries[p.Default].ID),
		Timeout:  p.Timeout,
		Entry:    self + "&entry=",
		Fallback: fallback(p, self),
	}
	if !m.MAC.IsZero() {
		menu.MAC = m.MAC.String()
	}
	if m.Addr.IsValid() {
		menu.Address = m.Addr.String()
	}
	for i, e := range p.Entries {
		if i > 0 && p.Entries[i-1].Kind != e.Kind && e.Kind <= boot.KindLocal {
			menu.Items = append(menu.Items, bootscript.Item{Heading: true})
		}
		menu.Items = append(menu.Items, itemOf(e))
	}
	dropRepeatedKeys(menu.Items)
	return menu
}

// dropRepeatedKeys leaves a hot key to the first item that has it, as where two
// profiles are in one menu. iPXE goes on counting after the first, and miscounts
// by one: its second item would boot the line above it (menu_ui.c, menu_loop).
func dropRepeatedKeys(items []bootscript.Item) {
	var taken [256]bool
	for i := range items {
		if key := items[i].Key; taken[key] {
			items[i].Key = 0
		} else {
			taken[key] = true
		}
	}
}

// escapeID makes an entry's ID fit for a query. The names of specialisations
// may hold +, ? and = (Nix's store names); slashes are fine as they are.
func escapeID(id string) string {
	if strings.IndexByte(id, '+') < 0 && strings.IndexByte(id, '?') < 0 && strings.IndexByte(id, '=') < 0 {
		return id
	}
	return strings.ReplaceAll(url.QueryEscape(id), "%2F", "/")
}

func itemOf(e *boot.Entry) bootscript.Item {
	item := bootscript.Item{ID: escapeID(e.ID), Label: e.Label, Key: e.Key}
	switch e.Kind {
	case boot.KindLocal:
		item.Do = bootscript.DoLocal
	case boot.KindShell:
		item.Do = bootscript.DoShell
	case boot.KindReboot:
		item.Do = bootscript.DoReboot
	case boot.KindPoweroff:
		item.Do = bootscript.DoPoweroff
	}
	return item
}

// boot makes the script of one entry.
func (s *Scripts) boot(q Query, base, self string) Script {
	plan, err := s.decider.Boot(q.Machine, q.Entry)
	if err != nil {
		return failure(http.StatusNotFound, err.Error(), self)
	}
	fall := fallback(&plan.MenuPlan, self)
	script := Script{Status: http.StatusOK, Kind: "boot", Entry: plan.Entry.ID, Reason: plan.Reason}
	switch plan.Entry.Kind {
	case boot.KindGeneration:
		script.Text, err = s.withTicket(&script, q.Machine, base, func(own ownArgs) ([]byte, error) {
			return generationBoot(&plan, own, fall).Render()
		})
	case boot.KindImage:
		script.Text, err = s.withTicket(&script, q.Machine, base, func(own ownArgs) ([]byte, error) {
			return renderImage(&plan, own, fall)
		})
	case boot.KindLocal:
		l := bootscript.Local{Fallback: fall}
		script.Text = l.Render()
	default:
		c := bootscript.Command{Name: plan.Entry.ID, Fallback: fall}
		script.Text = c.Render()
	}
	if err != nil {
		return failure(http.StatusInternalServerError, "entry "+plan.Entry.ID+": "+err.Error(), self)
	}
	return script
}

// initrdName is the name under which the kernel finds its initrd, on EFI by
// the initrd= argument.
const initrdName = "initrd"

func generationBoot(p *boot.BootPlan, own ownArgs, fall bootscript.Fallback) *bootscript.Boot {
	e := p.Entry
	files := own.base + "/generation/" + e.Generation.Profile + "/" + strconv.Itoa(e.Generation.Number) + "/"
	if e.Specialisation != "" {
		files += url.PathEscape(e.Specialisation) + "/"
	}
	b := &bootscript.Boot{Title: e.ID + "  " + e.System.Label, Kernel: files + "kernel", Fallback: fall}
	b.Args = make([]string, 0, len(e.System.KernelParams)+len(p.Args)+6)
	b.Args = append(b.Args, "init="+e.System.Init)
	b.Args = append(b.Args, e.System.KernelParams...)
	if e.System.Initrd != "" {
		b.Initrds = []bootscript.Initrd{{URL: files + "initrd", Name: initrdName}}
		b.Args = append(b.Args, "initrd="+initrdName)
	}
	b.Args = own.appendTo(b.Args)
	b.Args = append(b.Args, p.Args...)
	return b
}

// ownArgs is what the booted machine needs to know: which interface it booted
// from, where the server is, and the ticket with which it reports there.
type ownArgs struct {
	mac    machine.MAC // zero where it is not known
	base   string
	ticket string // "" for none
}

func (o *ownArgs) appendTo(args []string) []string {
	if !o.mac.IsZero() {
		args = append(args, "BOOTIF="+o.mac.BOOTIF(), "ravenboot.machine="+o.mac.String())
	}
	args = append(args, "ravenboot.url="+o.base)
	if o.ticket != "" {
		args = append(args, "ravenboot.ticket="+o.ticket)
	}
	return args
}

// withTicket renders with a ticket for the machine. Where that can't be, for
// want of room in the kernel command line, it renders without one: a boot is
// worth more than a report of it.
func (s *Scripts) withTicket(script *Script, m machine.Machine, base string, render func(ownArgs) ([]byte, error)) ([]byte, error) {
	own := ownArgs{mac: m.MAC, base: base}
	if m.MAC.IsZero() || s.config.Ticket == nil {
		return render(own)
	}
	own.ticket = s.config.Ticket(m.MAC)
	text, err := render(own)
	if err == nil {
		return text, nil
	}
	own.ticket = ""
	if text, without := render(own); without == nil {
		script.Reason += "; it gets no ticket to report with: " + err.Error()
		return text, nil
	}
	return nil, err
}

func renderImage(p *boot.BootPlan, own ownArgs, fall bootscript.Fallback) ([]byte, error) {
	image := p.Entry.Image
	files := own.base + "/image/" + image.Name
	args := make([]string, 0, len(image.Args)+len(p.Args)+5)
	for _, arg := range image.Args {
		args = append(args, strings.ReplaceAll(arg, "{url}", files))
	}
	if image.Chain != "" {
		c := bootscript.Chain{Title: p.Entry.Label, URL: files + "/" + filepath.Base(image.Chain), Args: args, Fallback: fall}
		return c.Render()
	}
	b := bootscript.Boot{Title: p.Entry.Label, Kernel: files + "/" + filepath.Base(image.Kernel), Fallback: fall}
	for _, path := range image.Initrds {
		name := filepath.Base(path)
		b.Initrds = append(b.Initrds, bootscript.Initrd{URL: files + "/" + name, Name: name})
		args = append(args, "initrd="+name)
	}
	if len(image.Initrds) > 0 {
		args = own.appendTo(args)
	}
	b.Args = append(args, p.Args...)
	return b.Render()
}
