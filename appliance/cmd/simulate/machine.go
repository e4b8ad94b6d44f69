package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"sync"
	"time"

	"swarmboot/initramfs/stage"
)

// A hall is what all machines have in common.
type hall struct {
	server            netip.Addr
	card              string
	machines, failing int
	boot, spread      time.Duration
	report            time.Duration
}

func (h hall) run(ctx context.Context) error {
	cable, err := plug(ctx, h.card)
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	for n := range h.machines {
		m := machine{hall: h, n: n, mac: mac(n), chance: rand.New(rand.NewPCG(uint64(n), 7))}
		wg.Go(func() {
			pause(ctx, time.Duration(m.chance.Float64()*float64(h.spread)))
			for ctx.Err() == nil {
				if err := m.live(ctx, cable); err != nil && ctx.Err() == nil {
					fmt.Println(err)
					pause(ctx, 5*time.Second)
				}
			}
		})
	}
	wg.Wait()
	return nil
}

// A machine is one of them.
type machine struct {
	hall
	n      int
	mac    net.HardwareAddr
	chance *rand.Rand
	http   *http.Client
	stage.Progress
	order []int // in which the pieces come
	told  int   // reports of this boot
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// parts of a boot, by how much of the time until the login each takes.
var parts = []struct {
	stage.Stage
	part float64
}{{stage.Script, .04}, {stage.Kernel, .15}, {stage.Init, .06}, {stage.Network, .05}, {stage.Swarm, .05}, {stage.Root, .1}, {stage.SwitchRoot, .5}}

var kernelURL = regexp.MustCompile(`https?://\S+/kernel`)

// live boots once and goes on until ctx is done, or until it fails.
func (m *machine) live(ctx context.Context, cable *cable) error {
	address, err := cable.address(ctx, m.mac)
	if err != nil {
		return err
	}
	dialer := &net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(address, 0)), Timeout: 10 * time.Second}
	m.http = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DialContext: dialer.DialContext}}
	defer m.http.CloseIdleConnections()
	script, err := m.get(ctx, "/boot.ipxe?mac="+m.mac.String())
	if err != nil {
		return err
	}
	const pieces, hot = 389, 69
	m.Progress = stage.Progress{Pieces: pieces, Hot: hot, Peers: 20 + m.chance.IntN(30)}
	m.order, m.told = m.chance.Perm(pieces), 0
	ill := m.chance.IntN(1000) < m.failing
	end := parts[m.chance.IntN(len(parts))].Stage // of one that is ill
	speed := math.Exp(m.chance.NormFloat64() * .15)
	for _, p := range parts {
		switch {
		case p.Stage == stage.Script:
		case p.Stage == stage.Kernel:
			if url := kernelURL.FindString(script); url != "" {
				if _, err := m.fetch(ctx, url); err != nil {
					return err
				}
			}
		default:
			if err := m.say(ctx, stage.Report{Stage: p.Stage}); err != nil {
				return err
			}
		}
		if ill && p.Stage == end {
			return m.ail(ctx, p.Stage)
		}
		if err := m.stay(ctx, p.Stage, time.Duration(p.part*speed*float64(m.boot)*math.Exp(m.chance.NormFloat64()*.1))); err != nil {
			return err
		}
	}
	if err := m.say(ctx, stage.Report{Stage: stage.Ready}); err != nil {
		return err
	}
	for m.Have < m.Pieces {
		if err := m.stay(ctx, stage.Ready, m.report); err != nil {
			return err
		}
	}
	for _, s := range []stage.Stage{stage.Complete, stage.HandedOver, stage.Seeding} {
		if err := m.say(ctx, stage.Report{Stage: s}); err != nil {
			return err
		}
	}
	return m.stay(ctx, stage.Seeding, math.MaxInt64)
}

// ail ends a boot: with a reason, or in silence.
func (m *machine) ail(ctx context.Context, at stage.Stage) error {
	if at.Index() >= stage.Network.Index() {
		reasons := map[stage.Stage]string{
			stage.Network:    "boot description: signature does not belong to a trusted key",
			stage.Swarm:      "no peer answered within 30s, and the server refused the range: 503 Service Unavailable",
			stage.Root:       "mount /dev/loop0 on /root: no such device (the kernel has no squashfs)",
			stage.SwitchRoot: "/sbin/init: exec format error",
		}
		if err := m.say(ctx, stage.Report{Stage: stage.Failed, At: at, Reason: reasons[at]}); err != nil {
			return err
		}
	}
	<-ctx.Done()
	return nil
}

// stay reports its progress while it is at a stage.
func (m *machine) stay(ctx context.Context, at stage.Stage, d time.Duration) error {
	for end := time.Now().Add(d); ctx.Err() == nil; {
		left := m.report
		if d != math.MaxInt64 {
			left = min(left, time.Until(end))
		}
		if left <= 0 {
			return nil
		}
		pause(ctx, left)
		if at.Index() < stage.Swarm.Index() {
			continue
		}
		m.advance(at)
		if err := m.say(ctx, stage.Report{Stage: at}); err != nil {
			return err
		}
	}
	return nil
}

// advance makes up what it has got since the last report.
func (m *machine) advance(at stage.Stage) {
	const piece = 256 << 10
	got := min(m.Pieces-m.Have, m.chance.IntN(1+int(float64(m.Pieces)*2.2*float64(m.report)/float64(m.boot))))
	m.Have += got
	m.HotHave = min(m.Hot, m.HotHave+(got+1)/2, m.Have)
	m.TouchedHave = m.HotHave
	for range got {
		if m.chance.IntN(m.machines+3) < 3 {
			m.FromServer += piece
		} else {
			m.FromPeers += piece
			if m.chance.IntN(20) == 0 {
				m.FromFar += piece
			}
		}
	}
	m.Uploaded += int64(m.chance.IntN(2*got+1)) * piece
	m.Waiting = 0
	if at == stage.SwitchRoot && m.HotHave < m.Hot {
		m.Waiting = m.chance.IntN(3)
	}
}

func (m *machine) say(ctx context.Context, r stage.Report) error {
	r.Machine = m.mac.String()
	if r.Stage.Index() >= stage.Swarm.Index() {
		p := m.Progress
		r.Progress = &p
		if m.told%5 == 0 {
			r.Detail = m.detail(r.Stage)
		}
		m.told++
	}
	client := stage.Client{Server: "http://" + m.server.String(), HTTP: m.http}
	return client.Send(ctx, r)
}

// detail makes up what is inside.
func (m *machine) detail(at stage.Stage) *stage.Detail {
	d := &stage.Detail{}
	if m.Have < m.Pieces {
		here := make([]bool, m.Pieces)
		for _, piece := range m.order[:m.Have] {
			here[piece] = true
		}
		d.Have = stage.BitMap(m.Pieces, func(piece int) bool { return here[piece] })
	}
	left := m.FromPeers
	for i := range m.Peers {
		share := left / 8 // the first have given most
		left -= share
		d.Peers = append(d.Peers, stage.Peer{
			Address: netip.AddrFrom4([4]byte{10, 77, 64 + byte(m.n/256), byte(i + 1)}), Far: i%10 == 9,
			Received: share, Sent: share / 2, Down: share / 20, Up: share / 40,
		})
	}
	if at.Index() < stage.Ready.Index() {
		for i := range 20 {
			d.Console = append(d.Console, fmt.Sprintf("[%5d.%06d] swarmboot: stage %s, line %d of what a kernel says", m.told, m.chance.IntN(1e6), at, i))
		}
	}
	return d
}

func (m *machine) get(ctx context.Context, path string) (string, error) {
	return m.fetch(ctx, "http://"+m.server.String()+path)
}

func (m *machine) fetch(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := m.http.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return "", fmt.Errorf("get %s: %w", url, err)
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("get %s: %s: %s", url, resp.Status, body)
	}
	return string(body), nil
}
