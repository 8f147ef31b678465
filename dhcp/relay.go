package dhcp

import "net/netip"

// relayAgent is what a relay adds in option 82, as far as it matters here.
type relayAgent struct {
	link     netip.Addr // sub-option 5, RFC 3527: where the machine sits
	serverID netip.Addr // sub-option 11, RFC 5107: whom the client is to ask
}

// The sub-options of option 82.
const (
	agentLinkSelection    = 5
	agentServerIDOverride = 11
)

// parseRelayAgent reads option 82 as far as it makes sense; it is echoed
// unchanged in any case.
func parseRelayAgent(b []byte) (a relayAgent) {
	eachOption(b, func(code byte, value []byte) {
		switch code {
		case agentLinkSelection:
			a.link = addrOf(value)
		case agentServerIDOverride:
			a.serverID = addrOf(value)
		}
	})
	return a
}

// eachOption walks encapsulated options (options 43, 82, 175) up to their end
// or the first that is cut short.
func eachOption(b []byte, visit func(code byte, value []byte)) {
	for len(b) > 0 {
		if b[0] == optPad {
			b = b[1:]
			continue
		}
		if b[0] == optEnd || len(b) < 2 || len(b)-2 < int(b[1]) {
			return
		}
		visit(b[0], b[2:2+int(b[1])])
		b = b[2+int(b[1]):]
	}
}

// link is the address that tells which subnet the machine sits in; invalid when
// only the interface can tell. RFC 3527 section 3 puts the relay's sub-option
// before the client's option 118 (RFC 3011), and both before giaddr.
func (r *request) link() netip.Addr {
	for _, a := range [...]netip.Addr{r.agent.link, addrOf(r.options[optSubnetSelection]), r.relay} {
		if a.IsValid() {
			return a
		}
	}
	return netip.Addr{}
}
