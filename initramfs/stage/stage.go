// Package stage is how a machine tells the boot server how far it has come.
//
// init and peerd send reports (Client), bootweb reads them (Decode), and
// log, command line and tests all show the names below.
package stage

import (
	"encoding/json"
	"fmt"
	"net"
	"path"
	"slices"
)

// Stage is one step of a boot. A machine passes them in the order of All.
type Stage string

const (
	DHCP       Stage = "dhcp"        // the firmware or loader has an address
	Loader     Stage = "loader"      // it fetches the first program
	Script     Stage = "script"      // the loader has asked what to boot
	Kernel     Stage = "kernel"      // it fetches kernel and initramfs
	Init       Stage = "init"        // our init runs
	Network    Stage = "network"     // Linux has the network up
	Discovered Stage = "discovered"  // not listed: it has told what it is and waits to be adopted
	Swarm      Stage = "swarm"       // peerd joins the swarm
	Root       Stage = "root"        // the image is mounted
	SwitchRoot Stage = "switch-root" // the image's own init takes over
	Ready      Stage = "ready"       // the system has reached its login
	Complete   Stage = "complete"    // every piece is here and verified
	HandedOver Stage = "handed-over" // the root reads the local file
	Seeding    Stage = "seeding"     // it only gives
	Failed     Stage = "failed"      // it cannot go on; Reason tells why
)

// All lists the stages in the order of a boot, without Failed.
var All = []Stage{DHCP, Loader, Script, Kernel, Init, Network, Discovered, Swarm, Root, SwitchRoot, Ready, Complete, HandedOver, Seeding}

// Index is the place of s in All, or -1.
func (s Stage) Index() int { return slices.Index(All, s) }

// Valid tells whether s is one of the stages.
func (s Stage) Valid() bool { return s == Failed || s.Index() >= 0 }

// ReadyFile is what a running system creates when it has reached its login: a
// unit that init adds to the image does so, peerd watches for it.
const ReadyFile = "/run/swarmboot/ready"

// MaxReport bounds the size in bytes of an encoded report.
const MaxReport = 1 << 20

// A Report is what a machine says about itself at one moment.
type Report struct {
	Machine  string    `json:"machine"`            // MAC of the booting NIC, lower case with colons
	Image    string    `json:"image,omitempty"`    // name@version, once known
	Stage    Stage     `json:"stage"`              // the stage now reached; with Failed, see At
	At       Stage     `json:"at,omitempty"`       // where it failed
	Reason   string    `json:"reason,omitempty"`   // why it failed, for people
	Progress *Progress `json:"progress,omitempty"` // from peerd
	Detail   *Detail   `json:"detail,omitempty"`   // now and then
	Touched  []Touch   `json:"touched,omitempty"`  // the read log, sent once with Ready
	Install  *Install  `json:"install,omitempty"`  // how an installation on disk has ended
	Files    []string  `json:"files,omitempty"`    // of a boot that was traced: those that it opened, in order
}

// Install tells how an installation on the machine's disk has ended.
type Install struct {
	Digest  string `json:"digest,omitempty"`  // of what is there now, to start from; bootargs.Install has it
	Problem string `json:"problem,omitempty"` // why nothing is
}

// Progress counts what peerd has and where it came from. Bytes are payload
// bytes of verified pieces; pieces are those of the root image.
type Progress struct {
	Pieces      int   `json:"pieces"`      // in the image
	Have        int   `json:"have"`        // here and verified
	Hot         int   `json:"hot"`         // in the boot profile; 0 without one
	HotHave     int   `json:"hot_have"`    // of these, here and verified
	TouchedHave int   `json:"touched"`     // pieces that reads have asked for so far
	Peers       int   `json:"peers"`       // connections, the seeder included
	FromPeers   int64 `json:"from_peers"`  // bytes from other machines
	FromFar     int64 `json:"from_far"`    // of these, bytes from machines in other racks
	FromServer  int64 `json:"from_server"` // bytes from the boot server, seeder and HTTP together
	Uploaded    int64 `json:"uploaded"`    // bytes given to others
	Waiting     int   `json:"waiting"`     // reads that wait for a piece now
	Duplicates  int64 `json:"duplicates"`  // bytes of pieces that were here already
	Rejected    int   `json:"rejected"`    // pieces that did not match the manifest
	Restarts    int   `json:"restarts"`    // times the swarm engine was started again
	EngineRSS   int64 `json:"engine_rss"`  // resident bytes of the swarm engine
	ServerRSS   int64 `json:"rootd_rss"`   // resident bytes of the root server, shared image pages excluded

	Serving *BootServing `json:"serving,omitempty"` // kernel and initramfs to rack mates; nil: it does not
}

// BootServing is what a machine does for the loaders of its rack mates.
type BootServing struct {
	Files []string `json:"files"` // SHA-256 of each, in the order of the boot description
	Sent  int64    `json:"sent"`  // bytes
}

// A Touch is the first read of a piece.
type Touch struct {
	Piece  int   `json:"piece"`
	Millis int64 `json:"ms"` // since the root was mounted
}

// Encode gives the report's JSON.
func (r Report) Encode() ([]byte, error) {
	data, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode report: %w", err)
	}
	return data, nil
}

// Decode reads a report from the network and checks what the server will rely
// on: a MAC address, known stages, counts that are not negative.
func Decode(data []byte) (Report, error) {
	if len(data) > MaxReport {
		return Report{}, fmt.Errorf("report of %d bytes; at most %d are read", len(data), MaxReport)
	}
	var r Report
	if err := json.Unmarshal(data, &r); err != nil {
		return Report{}, fmt.Errorf("report: %w", err)
	}
	mac, err := net.ParseMAC(r.Machine)
	if err != nil {
		return Report{}, fmt.Errorf("report: machine: %w", err)
	}
	r.Machine = mac.String()
	if !r.Stage.Valid() {
		return Report{}, fmt.Errorf("report: unknown stage %q", r.Stage)
	}
	if r.At != "" && !r.At.Valid() {
		return Report{}, fmt.Errorf("report: unknown stage %q", r.At)
	}
	if p := r.Progress; p != nil {
		if min(int64(p.Pieces), int64(p.Have), int64(p.Hot), int64(p.HotHave), int64(p.TouchedHave), int64(p.Peers), p.FromPeers, p.FromFar, p.FromServer, p.Uploaded, int64(p.Waiting), p.Duplicates, int64(p.Rejected), int64(p.Restarts)) < 0 {
			return Report{}, fmt.Errorf("report: negative count in %+v", *p)
		}
		if p.Serving != nil && p.Serving.Sent < 0 {
			return Report{}, fmt.Errorf("report: negative count in %+v", *p.Serving)
		}
		if p.Have > p.Pieces || p.HotHave > p.Hot {
			return Report{}, fmt.Errorf("report: more pieces than the image has in %+v", *p)
		}
	}
	if r.Detail != nil {
		pieces := 0
		if r.Progress != nil {
			pieces = r.Progress.Pieces
		}
		if err := r.Detail.check(pieces); err != nil {
			return Report{}, err
		}
	}
	for _, t := range r.Touched {
		if t.Piece < 0 || t.Millis < 0 {
			return Report{}, fmt.Errorf("report: negative touch %+v", t)
		}
	}
	for _, name := range r.Files {
		if !path.IsAbs(name) || path.Clean(name) != name {
			return Report{}, fmt.Errorf("report: %q is no path in a root", name)
		}
	}
	return r, nil
}
