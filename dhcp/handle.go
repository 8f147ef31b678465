package dhcp

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// scratch is memory that the answers to one packet after another are made in:
// without it, a storm keeps the garbage collector busy.
type scratch struct {
	request  request
	exchange exchange
	reply    []byte
}

// Handle is the way of a packet without sockets. ok is false when there is
// nothing to send. A packet that can't be understood changes nothing, and one
// that trips a bug of ours takes nothing down with it.
func (s *Server) Handle(ctx context.Context, p Packet) (reply Reply, ok bool) {
	return s.handle(ctx, p, new(scratch))
}

// handle is Handle, with a reply that lasts until mem is used again.
func (s *Server) handle(ctx context.Context, p Packet, mem *scratch) (reply Reply, ok bool) {
	observe := s.settings.Load().Observe
	defer func() {
		if bug := recover(); bug != nil {
			reply, ok = Reply{}, false
			observe("other", outcomeFailed)
			s.log.bug(ctx, p, fmt.Sprint(bug), debug.Stack())
		}
	}()
	err := parse(p, &mem.request)
	switch {
	case errors.Is(err, errNoRequest), errors.Is(err, errBOOTP):
		observe("other", outcomeIgnored)
		return Reply{}, false
	case err != nil:
		observe("other", outcomeMalformed)
		s.log.malformed(ctx, p, err)
		return Reply{}, false
	}
	x := s.newExchange(p, mem)
	v := x.decide(ctx)
	x.watch(ctx, v)
	observe(messageName(x.req.message), v.outcome)
	s.log.step(ctx, x, v)
	if v.answer == nil {
		return Reply{}, false
	}
	reply = x.deliver(v.answer, mem.reply)
	mem.reply = reply.Data
	return reply, true
}

// messageName is the message in metrics and logs; one name for all that RFC
// 2131 doesn't know, so that strangers can't invent label values.
func messageName(m dhcpv4.MessageType) string {
	if m < dhcpv4.MessageTypeDiscover || m > dhcpv4.MessageTypeInform {
		return "other"
	}
	return [...]string{"DISCOVER", "OFFER", "REQUEST", "DECLINE", "ACK", "NAK", "RELEASE", "INFORM"}[m-1]
}
