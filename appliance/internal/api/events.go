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

// RemovedEvent holds the MAC addresses of machines that are known no more, as they
// were taken out of the settings and nothing is heard of them.
type RemovedEvent []string

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
		OperationID: "get-events", Method: http.MethodGet, Path: Prefix + "/events", Tags: []string{"machines", "swarms", "networks", "server"}, Errors: []int{http.StatusUnauthorized},
		Summary: "Changes as they happen; the first event of each kind holds everything",
	}, map[string]any{"machines": MachinesEvent{}, "removed": RemovedEvent{}, "swarms": SwarmsEvent{}, "network": NetworkEvent{}, "settings": Settings{}},
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

	last     uint64 // change of machines
	begun    bool
	swarms   SwarmsEvent
	network  NetworkEvent
	settings Settings
	looked   time.Time // for news of the last three
	spoke    time.Time
}

func (s *stream) tell(now time.Time, event any) {
	if s.err == nil {
		s.err = s.send.Data(event)
		s.spoke = now
	}
}

func (s *stream) step(now time.Time) {
	changed, removed, last := s.source.MachinesSince(s.last)
	if len(changed) > 0 || !s.begun {
		for i := range changed {
			changed[i].Times, changed[i].AtReady = nil, nil
		}
		s.tell(now, MachinesEvent(changed))
	}
	if len(removed) > 0 {
		s.tell(now, RemovedEvent(removed))
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
		if settings := s.source.Settings(); !s.begun || !reflect.DeepEqual(settings, s.settings) {
			s.settings = settings
			s.tell(now, settings)
		}
	}
	s.begun = true
}
