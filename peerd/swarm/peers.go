package swarm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"swarmboot/peerd/announce"
)

const (
	// redial is how long after losing the seeder it's dialled again, and at first
	// any other peer; for those it doubles up to lastRedial.
	redial     = time.Second
	lastRedial = 30 * time.Second

	// machineDials is how many machines a machine dials. If it went on until it has
	// no room, the first fifty would dial each other, have no room for those who
	// come later, and be a swarm of their own: in the simulator 128 machines, each
	// with 50 connections, needed 3.4 of the bound for a boot and as many copies,
	// and with 25 dialled 1.15 and 1.03; 1.17 with 16, 1.28 and 1.13 with 8.
	machineDials = 25

	// machineConns and seederConns bound the connections of a session.
	machineConns = 100
	seederConns  = 1000

	// dialsAtOnce keeps a tracker's long answer from being a burst.
	dialsAtOnce = 20

	announceTimeout = 10 * time.Second
)

// A candidate is a peer that may be dialled.
type candidate struct {
	next    time.Time // not before
	pause   time.Duration
	dialing bool
}

// known takes addresses of peers.
func (s *Session) known(peers ...netip.AddrPort) {
	for _, peer := range peers {
		if peer == s.cfg.Seeder {
			s.handed = true
		} else if peer.IsValid() && s.candidates[peer] == nil {
			s.candidates[peer] = &candidate{}
		}
	}
	s.dialSome(time.Now())
}

// needSeeder dials the seeder though the tracker has handed it to others: if the
// tracker is silent, a read waits in spite of all peers, or nothing comes at all.
func (s *Session) needSeeder(now time.Time) {
	if !s.answered && now.Sub(s.begun) >= redial || s.schedule.Waited(now) >= redial || now.Sub(s.moved) >= silence {
		s.handed = true
	}
}

// dialSome dials peers that we have no connection with.
func (s *Session) dialSome(now time.Time) {
	if s.schedule.Complete() {
		return // who needs us dials us
	}
	connected := make(map[netip.Addr]bool, len(s.conns))
	dialled, dialing := 0, 0
	for _, c := range s.conns {
		connected[c.address] = true
		if c.dialled && !c.seeder {
			dialled++
		}
	}
	for _, k := range s.candidates {
		if k.dialing {
			dialing++
		}
	}
	for peer, k := range s.candidates {
		switch {
		case k.dialing || now.Before(k.next) || connected[peer.Addr()] || s.bans.has(peer.Addr(), now):
		case peer == s.cfg.Seeder && !s.handed:
		case peer == s.cfg.Seeder, dialing < dialsAtOnce && dialled+dialing < machineDials:
			dialing++
			s.dial(peer, k)
		}
	}
}

func (s *Session) dial(peer netip.AddrPort, k *candidate) {
	k.dialing = true
	s.wg.Go(func() {
		err := s.port.dial(s.ctx, s, peer)
		s.post(func() {
			k.dialing = false
			k.pause = min(max(2*k.pause, redial), lastRedial)
			if err == nil || peer == s.cfg.Seeder {
				k.pause = redial
			}
			k.next = time.Now().Add(k.pause)
		})
		if err != nil {
			s.log.Debug("peer not reached", "peer", peer, "err", err)
		}
	})
}

// announce tells the tracker of us and hears of other peers, until ctx is done.
func (s *Session) announce(ctx context.Context) {
	client := &http.Client{Timeout: announceTimeout, Transport: &http.Transport{
		DialContext: s.port.dialer.DialContext, // the tracker takes our address from the connection
	}}
	defer client.CloseIdleConnections()
	event, told := announce.Started, false
	for pause := redial; ; {
		left := s.left()
		answer, err := s.announceOnce(ctx, client, event)
		wait := pause
		if err != nil {
			if pause == redial && ctx.Err() == nil {
				s.log.Info("tracker not reached", "err", err)
			}
			s.post(func() { s.handed = true })
			pause = min(2*pause, lastRedial)
		} else {
			event, told, pause, wait = "", told || left == 0, redial, answer.Interval
			s.post(func() { s.answered = true; s.known(answer.Peers...) })
		}
		completed := s.complete
		if told {
			completed = nil
		}
		select {
		case <-time.After(wait):
		case <-s.bans.news:
		case <-completed:
			event, told = announce.Completed, true
		case <-ctx.Done():
			if event == announce.Started {
				return // it has never heard of us
			}
			bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), byeTime)
			defer cancel()
			s.announceOnce(bye, client, announce.Stopped)
			return
		}
	}
}

// byeTime is how long the end waits for the tracker to hear of it.
const byeTime = 300 * time.Millisecond

func (s *Session) announceOnce(ctx context.Context, client *http.Client, event string) (announce.Response, error) {
	u, err := url.Parse(s.cfg.Tracker)
	if err != nil {
		return announce.Response{}, err
	}
	u.RawQuery = announce.Request{
		InfoHash: s.infohash, PeerID: s.peerID, Address: s.port.Addr(),
		Uploaded: s.uploaded.Load(), Downloaded: s.fromPeers.Load() + s.fromServer.Load(), Left: s.left(),
		Event: event, Wanted: announce.MaxWanted, Banned: s.bans.list(time.Now()),
	}.Query().Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return announce.Response{}, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return announce.Response{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return announce.Response{}, fmt.Errorf("tracker answers %s", resp.Status)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return announce.Response{}, errors.Join(errors.New("tracker's answer breaks off"), err)
	}
	return announce.Decode(body)
}
