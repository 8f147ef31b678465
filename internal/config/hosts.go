package config

import (
	"fmt"
	"net/netip"

	"ravenboot/internal/boot"
	"ravenboot/internal/machine"
)

func (p *parser) groups() {
	names := make(seen[string])
	matches := make(seen[string])
	for i := range p.raw.Group {
		r := &p.raw.Group[i]
		g := boot.Group{Name: p.name(r.Name), Match: p.match(&r.Match), Settings: p.settings(&r.rawSettings)}
		p.unique(names, g.Name, r.Name.place)
		if !r.Name.set {
			g.Name = fmt.Sprintf("group %d", i+1)
		}
		m := r.Match
		if m.MAC.value+m.Subnet.value+m.Arch.value+m.Firmware.value == "" {
			p.wrong(r.Match.place, `names no machines; write match = { mac = "52:54:00:*" }, or use [default] for all`)
		} else if before, yes := matches.twice(matchText(g.Match), r.place); yes {
			p.doubt(r.Match.place, "the group in line %d matches the same machines, so this one is never used; make one of them", before.line)
		}
		p.cfg.Boot.Groups = append(p.cfg.Boot.Groups, g)
	}
}

func matchText(m boot.Match) string {
	mac := ""
	if m.MAC != nil {
		mac = m.MAC.String()
	}
	return fmt.Sprint(mac, " ", m.Subnet, " ", m.Arch, " ", m.Firmware)
}

func (p *parser) match(r *rawMatch) boot.Match {
	m := boot.Match{Arch: p.arch(r.Arch), Firmware: p.firmware(r.Firmware)}
	if r.MAC.set {
		pattern, err := machine.ParseMACPattern(r.MAC.value)
		if err != nil {
			p.wrong(r.MAC.place, "%s is no MAC pattern; write it as 52:54:00:*", quoted(r.MAC.value))
		}
		m.MAC = &pattern
	}
	if r.Subnet.set {
		prefix, err := netip.ParsePrefix(r.Subnet.value)
		switch {
		case err != nil:
			p.wrong(r.Subnet.place, "%s is no network; write it as 192.0.2.0/24", quoted(r.Subnet.value))
		case prefix != prefix.Masked():
			p.wrong(r.Subnet.place, "%s is an address within a network; write %v", quoted(r.Subnet.value), prefix.Masked())
		default:
			m.Subnet = prefix
		}
	}
	return m
}

// identities is what no two hosts may share.
type identities struct {
	names seen[string]
	macs  seen[machine.MAC]
	uuids seen[machine.UUID]
	addrs seen[netip.Addr]
}

func (p *parser) hosts() {
	ids := identities{make(seen[string]), make(seen[machine.MAC]), make(seen[machine.UUID]), make(seen[netip.Addr])}
	p.cfg.Boot.Hosts = make([]boot.Host, 0, len(p.raw.Host))
	for i := range p.raw.Host {
		r := &p.raw.Host[i]
		h := boot.Host{Name: p.name(r.Name), Settings: p.settings(&r.rawSettings)}
		if !r.Name.set {
			p.missing(r.Name.place, "give the host a name, logs and menus show it")
		}
		p.unique(ids.names, h.Name, r.Name.place)
		p.macs(&h, r, &ids)
		p.uuid(&h, r, &ids)
		p.address(&h, r, &ids)
		if !r.MAC.set && !r.UUID.set {
			p.missing(r.MAC.place, `write mac = "52:54:00:12:34:56", or a uuid`)
		}
		p.cfg.Boot.Hosts = append(p.cfg.Boot.Hosts, h)
	}
}

func (p *parser) macs(h *boot.Host, r *rawHost, ids *identities) {
	if r.MAC.set && len(r.MAC.items) == 0 && !r.UUID.set {
		p.wrong(r.MAC.place, `is empty; write mac = "52:54:00:12:34:56"`)
	}
	for _, item := range r.MAC.items {
		mac, err := machine.ParseMAC(item.value)
		switch {
		case err != nil:
			p.wrong(item.place, "%s is no MAC address; write it as 52:54:00:12:34:56", quoted(item.value))
			continue
		case mac[0]&1 != 0:
			p.wrong(item.place, "%v is a group address, which no interface has; correct its first byte", mac)
			continue
		}
		if before, yes := ids.macs.twice(mac, item.place); yes {
			p.wrong(item.place, "%v stands in line %d too; a MAC address belongs to one host", mac, before.line)
			continue
		}
		h.MACs = append(h.MACs, mac)
	}
}

func (p *parser) uuid(h *boot.Host, r *rawHost, ids *identities) {
	if !r.UUID.set {
		return
	}
	uuid, err := machine.ParseUUID(r.UUID.value)
	switch {
	case err != nil:
		p.wrong(r.UUID.place, "%s is no UUID; write it as 4c4c4544-0042-3510-8052-b4c04f4d3432", quoted(r.UUID.value))
		return
	case !uuid.IsKnown():
		p.wrong(r.UUID.place, "%v is what boards without a UUID of their own say; use the MAC address", uuid)
		return
	}
	if before, yes := ids.uuids.twice(uuid, r.UUID.place); yes {
		p.wrong(r.UUID.place, "%v stands in line %d too; a UUID belongs to one host", uuid, before.line)
		return
	}
	// Firmware shows either byte order, so both mean this host.
	if before, yes := ids.uuids.twice(uuid.Swapped(), r.UUID.place); yes && uuid != uuid.Swapped() {
		p.wrong(r.UUID.place, "%v stands in line %d too, in the other byte order; a UUID belongs to one host", uuid, before.line)
		return
	}
	h.UUID = uuid
}

func (p *parser) address(h *boot.Host, r *rawHost, ids *identities) {
	if !r.Address.set {
		return
	}
	addr, ok := p.addr(r.Address)
	if !ok {
		return
	}
	if !r.MAC.set {
		p.wrong(r.Address.place, "the host has no mac, and systems send no UUID when they ask for an address; add its mac")
	}
	if before, yes := ids.addrs.twice(addr, r.Address.place); yes {
		p.wrong(r.Address.place, "%v stands in line %d too; an address belongs to one host", addr, before.line)
		return
	}
	h.Addr = addr
}

// fixedAddresses compares the hosts' addresses with the subnets.
func (p *parser) fixedAddresses() {
	if p.cfg.DHCP.Mode != ModeServer {
		for i := range p.raw.Host {
			if at := p.raw.Host[i].Address; at.set {
				p.doubt(at.place, `an address has no effect in mode %q; write mode = "server" in [dhcp], or remove it`, p.cfg.DHCP.Mode)
				return // once is enough for a hundred hosts
			}
		}
		return
	}
	for i := range p.cfg.Boot.Hosts {
		if addr := p.cfg.Boot.Hosts[i].Addr; addr.IsValid() {
			p.fixedAddress(p.raw.Host[i].Address.place, addr)
		}
	}
}

func (p *parser) fixedAddress(at place, addr netip.Addr) {
	if addr == p.cfg.Server.Address {
		p.wrong(at, "%v is the server's own address; choose another", addr)
		return
	}
	for i := range p.cfg.DHCP.Subnets {
		s := &p.cfg.DHCP.Subnets[i]
		if !s.Network.Contains(addr) {
			continue
		}
		if !isHostAddr(s.Network, addr) {
			p.wrong(at, "%v is the network's own or the broadcast address of %v; choose another", addr, s.Network)
		}
		for _, router := range s.Router {
			if addr == router {
				p.wrong(at, "%v is the router's address; choose another", addr)
			}
		}
		return
	}
	if len(p.cfg.DHCP.Subnets) == len(p.raw.DHCP.Subnet) { // else the right subnet may be a wrong one
		p.wrong(at, "%v is in no [[dhcp.subnet]]; correct it, or add its subnet", addr)
	}
}
