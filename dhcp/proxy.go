package dhcp

import "github.com/insomniacslk/dhcp/dhcpv4"

// proxy answers in mode proxy: a boot file beside another DHCP server's address
// (PXE 2.1 section 2.2.3). Who doesn't boot from the network hears nothing.
func (x *exchange) proxy() verdict {
	switch {
	case x.asker.class == "":
		return ignored("not a boot client")
	case x.req.message == dhcpv4.MessageTypeDiscover:
		return x.bootAnswer(dhcpv4.MessageTypeOffer, outcomeOffer)
	case x.req.message == dhcpv4.MessageTypeRequest && x.isOurs(x.req.server) && x.req.wanted.IsValid():
		// The proxy offers none.
		return ignored("it chose the address of another DHCP server on this machine")
	case x.req.message == dhcpv4.MessageTypeInform,
		x.req.message == dhcpv4.MessageTypeRequest && x.isOurs(x.req.server):
		// Firmware that takes the proxy for a server of its own.
		return x.bootAnswer(dhcpv4.MessageTypeAck, outcomeAck)
	}
	return ignored("meant for the DHCP server")
}

// atPXEPort answers on port 4011, in both modes: a machine that has its address
// asks for its boot file (PXE 2.1 section 2.2.4; EDK2 without option 43).
func (x *exchange) atPXEPort() verdict {
	switch {
	case x.asker.class == "":
		return ignored("not a boot client")
	case x.req.message != dhcpv4.MessageTypeRequest && x.req.message != dhcpv4.MessageTypeInform:
		return ignored("port 4011 is for REQUEST")
	}
	return x.bootAnswer(dhcpv4.MessageTypeAck, outcomeAck)
}

// bootAnswer is an answer with a boot file and no address. Without a file there
// is no answer either: an iPXE or a ROM would take an empty one for an
// invitation to ask on port 4011.
func (x *exchange) bootAnswer(message dhcpv4.MessageType, outcome string) verdict {
	file := x.bootFile()
	if file == nil {
		return silent(x.start.Reason)
	}
	a := x.newAnswer(message)
	a.subnet, a.file = nil, file
	return verdict{outcome: outcome, reason: x.start.Reason, answer: a}
}
