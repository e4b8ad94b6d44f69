// Package powertest has management controllers for tests of package power and of
// those who ask for it: a Redfish service, and Debian's ipmi_sim.
package powertest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// What controllers of tests want to hear.
const (
	User     = "anna"
	Password = "a-secret"
)

// A Redfish service has systems that can be switched (DSP0266).
type Redfish struct {
	*httptest.Server // over TLS

	mu      sync.Mutex
	systems []system // guarded by mu
}

type system struct {
	mac string
	on  bool
	did []string // types of resets, and targets of the next boot
}

// NewRedfish starts a service with a system, switched off, for each MAC address.
func NewRedfish(t *testing.T, macs ...string) *Redfish {
	t.Helper()
	r := &Redfish{}
	for _, mac := range macs {
		r.systems = append(r.systems, system{mac: mac})
	}
	r.Server = httptest.NewTLSServer(http.HandlerFunc(r.serve))
	t.Cleanup(r.Close)
	return r
}

// Did tells what has been done to system n, in its order.
func (r *Redfish) Did(n int) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.systems[n].did, " ")
}

type object map[string]any

func link(path string) object { return object{"@odata.id": path} }

func collection(path string, count int) object {
	members := []object{}
	for n := range count {
		members = append(members, link(fmt.Sprintf("%s/%d", path, n)))
	}
	return object{"@odata.id": path, "Members": members, "Members@odata.count": count}
}

func (r *Redfish) serve(w http.ResponseWriter, req *http.Request) {
	const versions, root, systems = "/redfish", "/redfish/v1", "/redfish/v1/Systems"
	if user, password, _ := req.BasicAuth(); user != User || password != Password {
		if path := strings.TrimSuffix(req.URL.Path, "/"); path != versions && path != root { // these are for everybody
			http.Error(w, `{"error":{"code":"Base.1.0.InsufficientPrivilege","message":"who are you?"}}`, http.StatusUnauthorized)
			return
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var answer object
	path := strings.TrimSuffix(req.URL.Path, "/")
	n, rest := -1, ""
	fmt.Sscanf(strings.TrimPrefix(path, systems+"/"), "%d%s", &n, &rest)
	switch {
	case path == versions:
		answer = object{"v1": root + "/"}
	case path == root:
		answer = object{"@odata.id": root, "RedfishVersion": "1.15.0", "Systems": link(systems)}
	case path == systems:
		answer = collection(systems, len(r.systems))
	case n < 0 || n >= len(r.systems):
	case rest == "" && req.Method == http.MethodGet:
		state := map[bool]string{true: "On", false: "Off"}[r.systems[n].on]
		answer = object{"@odata.id": path, "Id": fmt.Sprint(n), "PowerState": state, "EthernetInterfaces": link(path + "/EthernetInterfaces"),
			"Boot": object{"BootSourceOverrideEnabled": "Disabled", "BootSourceOverrideTarget": "None",
				"BootSourceOverrideTarget@Redfish.AllowableValues": []string{"None", "Pxe"}},
			"Actions": object{"#ComputerSystem.Reset": object{"target": path + "/Actions/ComputerSystem.Reset",
				"ResetType@Redfish.AllowableValues": []string{"On", "ForceOff", "ForceRestart"}}}}
	case rest == "" && req.Method == http.MethodPatch:
		var body struct {
			Boot struct{ BootSourceOverrideTarget, BootSourceOverrideEnabled string }
		}
		if json.NewDecoder(req.Body).Decode(&body) == nil {
			r.systems[n].did = append(r.systems[n].did, body.Boot.BootSourceOverrideEnabled+" "+body.Boot.BootSourceOverrideTarget)
			answer = object{}
		}
	case rest == "/EthernetInterfaces":
		answer = collection(path, 1)
	case rest == "/EthernetInterfaces/0":
		answer = object{"@odata.id": path, "Id": "0", "MACAddress": r.systems[n].mac}
	case rest == "/Actions/ComputerSystem.Reset" && req.Method == http.MethodPost:
		var body struct{ ResetType string }
		if json.NewDecoder(req.Body).Decode(&body) == nil {
			r.systems[n].on = body.ResetType != "ForceOff"
			r.systems[n].did = append(r.systems[n].did, body.ResetType)
			answer = object{}
		}
	}
	if answer == nil {
		http.Error(w, `{"error":{"code":"Base.1.0.ResourceMissingAtURI","message":"no such resource"}}`, http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(answer)
}
