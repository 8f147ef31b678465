package main

import (
	"log/slog"
	"time"

	"ravenboot/internal/machine"
	"ravenboot/internal/machines"
	"ravenboot/internal/state"
	"ravenboot/internal/ticket"
)

// openReports opens what machines report with, and where it is kept. Both are a
// comfort: what is wrong with them costs a warning, and no machine its boot.
func (s *server) openReports() {
	s.tickets = openTickets(s.config.Server.StateDir, s.log)
	if err := s.openMachines(); err != nil {
		s.log.Warn("reports", "step", "start", "outcome", "kept in memory", "reason", err,
			"hint", "what machines reported, and what was approved, is forgotten when the server restarts")
		// Without a store nothing can fail.
		s.known, _ = machines.New(nil, s.log)
	}
}

func (s *server) openMachines() (err error) {
	if s.state == nil {
		if s.state, err = state.Open(s.config.Server.StateDir, s.log); err != nil {
			s.state = nil
			return err
		}
	}
	s.known, err = machines.New(s.state, s.log)
	return err
}

func openTickets(stateDir string, log *slog.Logger) *ticket.Key {
	key, err := ticket.OpenKey(stateDir)
	if err == nil {
		return key
	}
	log.Warn("tickets", "step", "start", "outcome", "kept in memory",
		"reason", err, "hint", "machines that are up when the server restarts can't report any more until they boot again")
	return ticket.NewKey()
}

// minter makes tickets that begin now.
func minter(key *ticket.Key) func(machine.MAC) string {
	return func(mac machine.MAC) string { return key.Mint(mac, time.Now()) }
}
