package lease

import (
	"net/netip"
	"testing"
	"time"
)

// promise is what a machine was last told, and may rely on.
type promise struct {
	addr  netip.Addr
	until time.Time
}

// model knows what was promised to whom, and nothing of how a pool works.
type model struct {
	*bench
	told map[int]promise
	wide bool // which of two configurations is in force
}

func (m *model) conf() (Subnet, netip.Addr) {
	if m.wide {
		return lab("192.0.2.17"), ip("192.0.2.11")
	}
	return lab("192.0.2.13"), ip("192.0.2.12")
}

// holder is the machine that may use addr now, or -1.
func (m *model) holder(addr netip.Addr) int {
	for i, p := range m.told {
		if p.addr == addr && m.now.Before(p.until) {
			return i
		}
	}
	return -1
}

// allowed checks that an address may be given or offered to the machine.
func (m *model) allowed(machine int, addr netip.Addr) {
	m.t.Helper()
	conf, reserved := m.conf()
	if !conf.Ranges[0].Contains(addr) || addr == reserved {
		m.t.Fatalf("machine %d got %v, which is not handed out", machine, addr)
	}
	if other := m.holder(addr); other >= 0 && other != machine {
		m.t.Fatalf("machine %d got %v, which machine %d has until %v (now %v)", machine, addr, other, m.told[other].until, m.now)
	}
}

func (m *model) step(op, arg byte) {
	machine := int(arg & 7)
	addr := netip.AddrFrom4([4]byte{192, 0, 2, 8 + arg>>4})
	switch op % 9 {
	case 0, 1:
		var requested netip.Addr
		if op%9 == 1 {
			requested = addr
		}
		l, err := m.pool.Offer(m.t.Context(), m.sub(), mac(machine), none, requested)
		if err != nil {
			return
		}
		m.allowed(machine, l.Addr)
		conf, reserved := m.conf()
		if p := m.told[machine]; m.now.Before(p.until) && p.addr != l.Addr && conf.Ranges[0].Contains(p.addr) && p.addr != reserved {
			m.t.Fatalf("machine %d has %v and is offered %v", machine, p.addr, l.Addr)
		}
		if op&0x80 == 0 {
			m.take(machine, l.Addr, true)
		}
	case 2:
		m.take(machine, addr, false)
	case 3:
		m.pool.Release(mac(machine), addr)
		if m.told[machine].addr == addr {
			delete(m.told, machine)
		}
	case 4:
		m.pool.Decline(mac(machine), addr)
		if m.told[machine].addr == addr {
			delete(m.told, machine)
		}
	case 5:
		m.wait(time.Duration(arg) * 20 * time.Second)
	case 6:
		conf, reserved := m.conf()
		m.restart(conf, nil, reserved)
	case 7:
		m.wide = !m.wide
		conf, reserved := m.conf()
		m.reload(conf, reserved)
	case 8:
		if arg == 0 {
			m.wait(rememberFor)
		}
		m.pool.prune()
	}
}

func (m *model) take(machine int, addr netip.Addr, must bool) {
	l, err := m.pool.Confirm(m.t.Context(), m.sub(), mac(machine), none, addr)
	if err != nil {
		if must {
			m.t.Fatalf("machine %d was offered %v and refused: %v", machine, addr, err)
		}
		return
	}
	m.allowed(machine, addr)
	m.told[machine] = promise{addr, l.Expires}
	if kept := m.store.leases[addr]; kept.MAC != l.MAC || kept.Expires.Before(l.Expires) {
		m.t.Fatalf("machine %d was told %v until %v, kept is %+v", machine, addr, l.Expires, kept)
	}
}

// consistent checks the pool from inside: every slot is in the queue of its
// kind, and whoever is found by MAC has the slot.
func (m *model) consistent() {
	m.stats()
	for _, b := range m.pool.blocks {
		n := len(b.leases)
		for k := range b.lists {
			for e := b.lists[k].Front(); e != nil; e = e.Next() {
				s := e.Value.(*slot)
				if s.place != e || s.kind != kind(k) || (s.survey != nil) != s.kind.free() {
					m.t.Fatalf("%v of kind %d is in queue %d", s.addr, s.kind, k)
				}
				n++
			}
		}
		for i, s := range b.leases {
			if s.kind != leased || s.index != i || s.survey != nil || s.mac.IsZero() {
				m.t.Fatalf("%+v among the leases at %d", s, i)
			}
		}
		for addr, s := range b.slots {
			if s.addr != addr || !b.handsOut(addr) {
				m.t.Fatalf("slot of %v at %v", s.addr, addr)
			}
		}
		for mac, s := range b.byMAC {
			if s.mac != mac || b.slots[s.addr] != s || s.kind == fresh || s.kind == inUse || s.kind == declined {
				m.t.Fatalf("%v has %+v", mac, s)
			}
		}
		if n != len(b.slots) {
			m.t.Fatalf("%d slots, %d of them in queues", len(b.slots), n)
		}
	}
}

// FuzzPool plays any sequence of packets, pauses, restarts and reloads.
func FuzzPool(f *testing.F) {
	f.Add([]byte{0, 1, 0, 2, 3, 0x21, 5, 255, 0, 3, 6, 0, 0, 1})
	f.Add([]byte{0, 1, 7, 0, 0, 2, 4, 0x21, 0, 1, 8, 0, 7, 0, 2, 0x22, 6, 0})
	f.Add([]byte{1, 0x31, 0x80, 2, 0x81, 0x43, 0x80, 4, 0x80, 5, 0x80, 6, 0, 7, 2, 0x31, 5, 200, 5, 200, 0, 0, 6, 0, 0, 1})
	f.Fuzz(func(t *testing.T, ops []byte) {
		m := &model{bench: start(t, lab("192.0.2.13"), nil, ip("192.0.2.12")), told: map[int]promise{}}
		for i := 0; i+1 < len(ops) && i < 400; i += 2 {
			m.step(ops[i], ops[i+1])
			m.consistent()
		}
	})
}
