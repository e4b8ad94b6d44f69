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
		s.refuse(w, r, "failure", http.StatusForbidden, notItsOwn(q.Get("mac")))
		return
	}
	at := stage.Stage(q.Get("stage"))
	if at.Index() < 0 {
		s.refuse(w, r, "failure", http.StatusBadRequest, fmt.Errorf("there is no stage %.40q", at))
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
	data, ok := s.body(w, r, what, limit)
	if !ok {
		return said, false
	}
	var err error
	if said, err = decode(data); err != nil {
		s.refuse(w, r, what, http.StatusBadRequest, err)
		return said, false
	}
	if mac, err := net.ParseMAC(machine(said)); err != nil || !s.is(mac, r) {
		s.refuse(w, r, what, http.StatusForbidden, notItsOwn(machine(said)))
		return said, false
	}
	return said, true
}

// body reads what comes with a request, for what; if that fails, it has answered.
func (s *web) body(w http.ResponseWriter, r *http.Request, what string, limit int64) (data []byte, ok bool) {
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		s.refuse(w, r, what, http.StatusRequestEntityTooLarge, fmt.Errorf("it is larger than %d bytes", limit))
	case err != nil:
		s.refuse(w, r, what, http.StatusBadRequest, err)
	}
	return data, err == nil
}

// refuse logs, counts and answers a request for what; facts are more attributes of
// the line in the log.
func (s *web) refuse(w http.ResponseWriter, r *http.Request, what string, status int, err error, facts ...any) {
	s.Log.Warn(what+" refused", append(facts, "peer", r.RemoteAddr, "err", err)...)
	s.server.Refused(what, status)
	http.Error(w, what+": "+err.Error(), status)
}

func notItsOwn(machine string) error {
	return fmt.Errorf("it is about %.40s, and comes from an address that is not its own", machine)
}
