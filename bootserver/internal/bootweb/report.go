package bootweb

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"

	"swarmboot/initramfs/inventory"
	"swarmboot/initramfs/stage"
)

// failed takes what a script reports when it cannot go on.
func (s *web) failed(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	mac, err := net.ParseMAC(q.Get("mac"))
	if err != nil || !s.is(mac, r) {
		http.Error(w, "no machine with this address", http.StatusForbidden)
		return
	}
	at := stage.Stage(q.Get("stage"))
	if at.Index() < 0 {
		http.Error(w, "unknown stage", http.StatusBadRequest)
		return
	}
	reason := fmt.Sprintf("the loader could not fetch or start: %.40q", q.Get("part"))
	if code := q.Get("error"); code != "" {
		reason += fmt.Sprintf(" (iPXE error %.40q; https://ipxe.org/ERROR explains it)", code)
	} else {
		reason += " (GRUB; its console says why)"
	}
	s.server.Report(stage.Report{Machine: mac.String(), Stage: stage.Failed, At: at, Reason: reason})
	sendText(w, "# noted\n") // GRUB runs what it is sent
}

// report takes how far a machine has come.
func (s *web) report(w http.ResponseWriter, r *http.Request) {
	report, ok := told(s, w, r, "report", stage.MaxReport, stage.Decode, func(r stage.Report) string { return r.Machine })
	if ok {
		s.server.Report(report)
		w.WriteHeader(http.StatusNoContent)
	}
}

// inventory takes what an unknown machine tells about itself and answers whether it
// is to wait.
func (s *web) inventory(w http.ResponseWriter, r *http.Request) {
	found, ok := told(s, w, r, "inventory", inventory.MaxSize, inventory.Decode, func(i inventory.Inventory) string { return i.Machine })
	if !ok {
		return
	}
	order, err := s.server.Inventory(found)
	switch {
	case errors.Is(err, ErrUnknown):
		s.refuse(w, r, "inventory", http.StatusNotFound, err)
		return
	case err != nil:
		s.refuse(w, r, "inventory", http.StatusInternalServerError, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	json.NewEncoder(w).Encode(inventory.Answer{Do: order})
}

// told reads what a machine tells about itself: what is not from its own address is
// refused, and the answer given.
func told[T any](s *web, w http.ResponseWriter, r *http.Request, what string, limit int64, decode func([]byte) (T, error), machine func(T) string) (said T, ok bool) {
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if err != nil {
		s.refuse(w, r, what, http.StatusBadRequest, err)
		return said, false
	}
	if said, err = decode(data); err != nil {
		s.refuse(w, r, what, http.StatusBadRequest, err)
		return said, false
	}
	if mac, err := net.ParseMAC(machine(said)); err != nil || !s.is(mac, r) {
		s.refuse(w, r, what, http.StatusForbidden, fmt.Errorf("it is about %s, and comes from an address that is not its own", machine(said)))
		return said, false
	}
	return said, true
}

func (s *web) refuse(w http.ResponseWriter, r *http.Request, what string, code int, err error) {
	s.Log.Warn(what+" refused", "peer", r.RemoteAddr, "err", err)
	http.Error(w, what+": "+err.Error(), code)
}
