package fleet

import (
	"fmt"
	"strings"
	"time"

	"swarmboot/initramfs/stage"
)

// Condition tells at a glance how a machine fares.
type Condition string

const (
	Unseen  Condition = "unseen"  // nothing heard of it yet
	Booting Condition = "booting" // on its way
	Stuck   Condition = "stuck"   // longer at one stage than any machine should be
	Failed  Condition = "failed"  // it says so itself
	Up      Condition = "up"      // it has reached its login
	Silent  Condition = "silent"  // it was up and is heard no more
)

// Conditions lists all, in the order of a boot.
var Conditions = []Condition{Unseen, Booting, Stuck, Failed, Up, Silent}

// Health is what a data-centre tech needs to know: how the machine fares, and
// if it is not well, why and what to do.
type Health struct {
	Condition Condition `json:"condition" enum:"unseen,booting,stuck,failed,up,silent"`
	Why       string    `json:"why,omitempty"`    // what is wrong
	Remedy    string    `json:"remedy,omitempty"` // what to do about it
}

// silence is how long a running machine may say nothing: it reports twice a
// minute, and so do the announces of its peer.
const silence = 3 * time.Minute

// A patience is how long a machine may be at a stage, and what is said when it
// is there longer.
type patience struct {
	limit       time.Duration
	why, remedy string
}

// patiences has the stages before ready. The limits are several times what an
// emulated machine takes; a server's firmware alone is given minutes nowhere,
// because it runs before its first packet.
var patiences = map[stage.Stage]patience{
	stage.DHCP: {90 * time.Second, "it was given an address, but has not fetched its loader",
		"Look at its screen. If it went on to a disk, put the network card first in its boot order. If it waits for TFTP, let 69/udp through between it and this server."},
	stage.Loader: {90 * time.Second, "it fetched the loader, but the loader has not asked for its script",
		"Look at its screen. A message about security or access means that Secure Boot refused the loader. If the loader finds no address, make its switch port an edge port, so that it forwards at once."},
	stage.Script: {90 * time.Second, "the loader has its script, but has not fetched the kernel",
		"Let HTTP through between it and this server, and look at its screen for the loader's error."},
	stage.Kernel: {4 * time.Minute, "it has begun to fetch kernel and initramfs, but our init has not started",
		"Look at its console: a kernel that stops there says why. Check the speed of its link, and that it has 1 GiB of memory."},
	stage.Init: {2 * time.Minute, "Linux runs on it, but has no network",
		"Look at its console. The kernel of its image may lack the driver of its network card."},
	stage.Network: {2 * time.Minute, "it has a network, but has not joined the swarm",
		"Let HTTP through between it and this server. Its console says what it could not fetch or verify."},
	stage.Discovered: {time.Nanosecond, "nobody has listed it; it waits to be adopted",
		"Adopt it with 'swarmboot machine adopt MAC --name NAME', which writes it into the settings file."},
	stage.Swarm: {3 * time.Minute, "it is in the swarm, but the image is not mounted",
		"Let 6881/tcp through between it, the other machines and this server, and see whether other machines with this image get their pieces."},
	stage.Root: {3 * time.Minute, "its root is mounted, but the image's own init has not taken over",
		"Its console says what could not be mounted. If all machines with this image stop here, the image is at fault."},
	stage.SwitchRoot: {6 * time.Minute, "the image's own init runs, but has not reached its login",
		"Its console says which service it waits for. If all machines with this image stop here, the image is at fault."},
}

// judge tells how a machine fares at the moment now. Of one that is well otherwise
// it tells if others have banned it.
func judge(m MachineStatus, now time.Time) Health {
	h := judgeBoot(m, now)
	if h.Why == "" && len(m.BannedBy) > 0 {
		h.Why = "it sends pieces that are not what was signed, say " + names(m.BannedBy)
		h.Remedy = "Test its memory, and its disk if it has a cache: one of them damages what it keeps. The others get their pieces elsewhere."
	}
	return h
}

// names lists a few of many.
func names(all []string) string {
	const few = 3
	if len(all) > few {
		return fmt.Sprintf("%s and %d more", strings.Join(all[:few], ", "), len(all)-few)
	}
	return strings.Join(all, ", ")
}

// judgeBoot tells how far it is, and whether it should be further.
func judgeBoot(m MachineStatus, now time.Time) Health {
	at := func(t time.Time) string { return t.UTC().Format("15:04:05") + " UTC" }
	switch {
	case m.Stage == "":
		return Health{Condition: Unseen}
	case m.Stage == stage.Failed:
		why := m.Reason
		if why == "" {
			why = "it did not say why"
		}
		return Health{Failed, fmt.Sprintf("at %s: %s", m.At, why), remedy(m.At)}
	case m.Stage.Index() >= stage.Ready.Index():
		if now.Sub(m.Heard) > silence && !m.fromDisk() {
			return Health{Silent, "nothing was heard of it since " + at(m.Heard),
				"If it was not switched off, look at its console and its cable. What runs on it goes on without this server."}
		}
		return Health{Condition: Up}
	}
	p := patiences[m.Stage]
	if now.Sub(m.Since) <= p.limit {
		return Health{Condition: Booting}
	}
	why := p.why
	if m.Progress != nil && m.Progress.Waiting > 0 {
		why += fmt.Sprintf("; %d reads wait for pieces", m.Progress.Waiting)
	}
	if m.Progress != nil && m.Progress.Rejected > 0 {
		why += fmt.Sprintf("; it has refused %d pieces that are not what was signed", m.Progress.Rejected)
		p.remedy = "'swarmboot image verify' tells whether this server's own copy is damaged. " + p.remedy
	}
	if now.Sub(m.Heard) > p.limit {
		why += "; nothing was heard of it since " + at(m.Heard)
	}
	return Health{Stuck, why, p.remedy}
}

// fromDisk tells whether a machine has started from its disk, and so has no peerd
// that reports.
func (m MachineStatus) fromDisk() bool {
	return m.Install != nil && m.Install.Digest != "" && m.Progress == nil
}

// remedy for a machine that says itself what is wrong: it tries again alone.
func remedy(at stage.Stage) string {
	switch {
	case at.Index() <= stage.Kernel.Index():
		return "It tries again by itself. If the reason is about its image, 'swarmboot image list' tells what this server has; the log has more."
	case at.Index() <= stage.Network.Index():
		return "It tries again by itself. Its console tells what it could not fetch, read or verify; if that is nothing, check its cable and switch port."
	}
	return "It tries again by itself. If other machines with this image are well, look at its cable and memory; its console has more."
}
