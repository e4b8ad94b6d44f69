package api

import (
	"context"
	"net/http"
	"reflect"
	"time"

	"swarmboot/bootserver"
	"swarmboot/bootserver/fleet"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/sse"
)

// MachinesEvent holds the machines that have changed since the event before; in
// the first event of a connection, all. Times and AtReady are left out: two
// thousand machines may change in each second.
type MachinesEvent []fleet.MachineStatus

// SwarmsEvent holds all swarms.
type SwarmsEvent []bootserver.SwarmStatus

// NetworkEvent holds what has changed in the network; /leases has the rest.
type NetworkEvent struct {
	Networks  []bootserver.NetworkStatus `json:"networks"`
	Strangers []bootserver.Stranger      `json:"strangers"`
}

const (
	machinesEvery = 250 * time.Millisecond // as often as an eye can follow
	othersEvery   = time.Second
	// heartbeat is how long a connection may be idle: proxies and browsers drop
	// one that is silent for longer than a minute.
	heartbeat = 15 * time.Second
)

// events streams to a page until it leaves or the server stops. Each connection
// begins with everything, so one that was lost needs no memory of where it was.
func events(api huma.API, source Source) {
	sse.Register(api, huma.Operation{
		OperationID: "get-events", Method: http.MethodGet, Path: Prefix + "/events", Tags: []string{"machines", "swarms", "networks"}, Errors: []int{http.StatusUnauthorized},
		Summary: "Changes as they happen; the first event of each kind holds everything",
	}, map[string]any{"machines": MachinesEvent{}, "swarms": SwarmsEvent{}, "network": NetworkEvent{}},
		func(ctx context.Context, _ *struct{}, send sse.Sender) {
			s := stream{source: source, send: send}
			tick := time.NewTicker(machinesEvery)
			defer tick.Stop()
			for now := time.Now(); s.err == nil; {
				s.step(now)
				select {
				case <-ctx.Done():
					return
				case now = <-tick.C:
				}
			}
		})
}

// A stream is what one connection has been told.
type stream struct {
	source Source
	send   sse.Sender
	err    error // the asker has left

	last    uint64 // change of machines
	begun   bool
	swarms  SwarmsEvent
	network NetworkEvent
	looked  time.Time // for news of swarms and network
	spoke   time.Time
}

func (s *stream) tell(now time.Time, event any) {
	if s.err == nil {
		s.err = s.send.Data(event)
		s.spoke = now
	}
}

func (s *stream) step(now time.Time) {
	changed, last := s.source.MachinesSince(s.last)
	if len(changed) > 0 || !s.begun {
		for i := range changed {
			changed[i].Times, changed[i].AtReady = nil, nil
		}
		s.tell(now, MachinesEvent(changed))
	}
	s.last = last
	if !s.begun || now.Sub(s.looked) >= othersEvery {
		s.looked = now
		if swarms := SwarmsEvent(s.source.Swarms()); !s.begun || !reflect.DeepEqual(swarms, s.swarms) || now.Sub(s.spoke) >= heartbeat {
			s.swarms = swarms
			s.tell(now, swarms)
		}
		if network := (NetworkEvent{s.source.Networks(), s.source.Strangers()}); !s.begun || !reflect.DeepEqual(network, s.network) {
			s.network = network
			s.tell(now, network)
		}
	}
	s.begun = true
}
