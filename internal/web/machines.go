package web

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"ravenboot/internal/boot"
	"ravenboot/internal/machine"
	"ravenboot/internal/machines"
)

// Hosts says which machine of the configuration a machine is; nil for none.
// boot.Decider is the one that is used.
type Hosts interface {
	Host(machine.Machine) *boot.Host
}

// Machine is a machine's last word, as the admin side gives it.
type Machine struct {
	Name string `json:"name,omitempty"` // in the configuration
	machines.Word
}

// MachinesAPI answers the admin side's questions about machines.
type MachinesAPI struct {
	machines *machines.Machines
	hosts    Hosts
	log      *slog.Logger
}

// NewMachinesAPI makes a MachinesAPI.
func NewMachinesAPI(known *machines.Machines, hosts Hosts, log *slog.Logger) *MachinesAPI {
	return &MachinesAPI{machines: known, hosts: hosts, log: log}
}

// named lists the machines with the names that they have by now: those that the
// configuration names first, then by MAC.
func (a *MachinesAPI) named(now time.Time) []Machine {
	words := a.machines.List(now)
	all := make([]Machine, len(words))
	for i, w := range words {
		all[i] = Machine{Word: w, Name: a.nameOf(w.Machine)}
	}
	slices.SortStableFunc(all, byName)
	return all
}

func byName(a, b Machine) int {
	switch {
	case a.Name == b.Name:
		return 0
	case a.Name == "":
		return 1
	case b.Name == "":
		return -1
	}
	return strings.Compare(a.Name, b.Name)
}

func (a *MachinesAPI) nameOf(mac machine.MAC) string {
	if host := a.hosts.Host(machine.Machine{MAC: mac}); host != nil {
		return host.Name
	}
	return ""
}

func (a *MachinesAPI) list(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, a.named(time.Now()))
}

func (a *MachinesAPI) approve(w http.ResponseWriter, r *http.Request) {
	wanted := mux.Vars(r)["machine"]
	mac, err := a.find(wanted)
	if err != nil {
		writeError(w, http.StatusNotFound, err)
		return
	}
	word, err := a.machines.Approve(r.Context(), mac, time.Now())
	if err != nil {
		writeError(w, approvalStatus(err), fmt.Errorf("%.64s: %w", wanted, err))
		return
	}
	a.log.Info("approved", "machine", mac.String(), "step", word.Step, "outcome", "approved", "reason", "the operator asked for it",
		"refusal", word.Refusal, "until", word.Approval.Until, "address", r.RemoteAddr)
	writeJSON(w, http.StatusOK, Machine{Word: word, Name: a.nameOf(mac)})
}

func approvalStatus(err error) int {
	var not machines.NotWaiting
	switch {
	case errors.Is(err, machines.ErrUnknown):
		return http.StatusNotFound
	case errors.As(err, &not):
		return http.StatusConflict
	}
	return http.StatusInternalServerError
}

// find is the machine of that name or MAC that has said something. Of a machine
// with several NICs it is the one that spoke last.
func (a *MachinesAPI) find(wanted string) (machine.MAC, error) {
	mac, notMAC := machine.ParseMAC(wanted)
	var found *Machine
	all := a.named(time.Now())
	for i := range all {
		m := &all[i]
		if m.Name != wanted && (notMAC != nil || m.Machine != mac) {
			continue
		}
		if found == nil || found.Time.Before(m.Time) {
			found = m
		}
	}
	if found == nil {
		return machine.MAC{}, fmt.Errorf("%.64s: no machine of this name or MAC address has reported anything", wanted)
	}
	return found.Machine, nil
}

func writeError(w http.ResponseWriter, status int, err error) {
	writeJSON(w, status, struct {
		Error string `json:"error"`
	}{err.Error()})
}
