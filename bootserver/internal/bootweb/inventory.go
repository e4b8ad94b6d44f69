package bootweb

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"

	"swarmboot/initramfs/inventory"
)

// inventory takes what an unknown machine tells about itself and answers
// whether it is to wait.
func (s *web) inventory(w http.ResponseWriter, r *http.Request) {
	refuse := func(code int, err error) {
		s.Log.Warn("inventory refused", "peer", r.RemoteAddr, "err", err)
		http.Error(w, err.Error(), code)
	}
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, inventory.MaxSize))
	if err != nil {
		refuse(http.StatusBadRequest, fmt.Errorf("inventory: %w", err))
		return
	}
	found, err := inventory.Decode(data)
	if err != nil {
		refuse(http.StatusBadRequest, err)
		return
	}
	mac, err := net.ParseMAC(found.Machine)
	if err != nil || !s.is(mac, r) {
		refuse(http.StatusForbidden, fmt.Errorf("inventory of %s comes from an address that is not its own", found.Machine))
		return
	}
	order, err := s.server.Inventory(found)
	switch {
	case errors.Is(err, ErrUnknown):
		refuse(http.StatusNotFound, err)
		return
	case err != nil:
		refuse(http.StatusInternalServerError, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	json.NewEncoder(w).Encode(inventory.Answer{Do: order})
}
