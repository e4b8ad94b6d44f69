// Package table shows people what a boot server knows: Machines, Swarms,
// Networks, Stages, Strangers and Images write one table each, and Live keeps them up to
// date on a terminal.
//
// cmd/swarmboot (machine list, status) and package lab are its callers.
package table

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"swarmboot/appliance/internal/access"
	"swarmboot/appliance/internal/journal"
	"swarmboot/bootserver"
	"swarmboot/bootserver/fleet"
	"swarmboot/images"
	"swarmboot/initramfs/stage"

	"github.com/dustin/go-humanize"
)

// Machines writes a line for each machine: how far it is, what it has, whence.
func Machines(w io.Writer, list []fleet.MachineStatus) error {
	rows := make([][]string, len(list))
	for i, m := range list {
		rows[i] = machineRow(m, time.Now())
	}
	return write(w, []string{"MAC", "NAME", "IMAGE", "STAGE", "HOT", "TOTAL", "AT LOGIN", "FROM PEERS", "FROM SERVER", "SINCE", "REASON"}, rows)
}

func machineRow(m fleet.MachineStatus, now time.Time) []string {
	hot, total, atLogin, fromPeers, fromServer, since := "", "", "", "", "", ""
	if p := m.Progress; p != nil {
		hot, total = percent(p.HotHave, p.Hot), percent(p.Have, p.Pieces)
		fromPeers, fromServer = size(p.FromPeers), size(p.FromServer)
	}
	if p := m.AtReady; p != nil {
		atLogin = percent(p.Have, p.Pieces)
	}
	if !m.Since.IsZero() {
		since = now.Sub(m.Since).Truncate(time.Second).String()
	}
	reason := m.Why
	if m.Install != nil && m.Install.Problem != "" && reason == "" {
		reason = m.Install.Problem
	}
	if p := m.Progress; reason == "" && p != nil && p.Rejected > 0 && m.Stage.Index() < stage.Complete.Index() {
		reason = fmt.Sprintf("refused %d pieces that are not what was signed", p.Rejected)
	}
	return []string{m.MAC, m.Name, image(m), string(m.Stage), hot, total, atLogin, fromPeers, fromServer, since, reason}
}

// image is what a machine runs, and what it boots next if that is not the
// settings' to say.
func image(m fleet.MachineStatus) string {
	o := m.Override
	switch {
	case o == nil || o.Boot != 0 && o.Boot <= m.Boots: // none, or this boot is the one that it was for
		return m.Image
	case o.Stays && o.Image == m.Image:
		return m.Image + " (stays)"
	case o.Stays:
		return m.Image + " (next: " + o.Image + ", stays)"
	}
	return m.Image + " (next: " + o.Image + ")"
}

// Swarms writes a line for each image: how often the server had to send it.
func Swarms(w io.Writer, list []bootserver.SwarmStatus) error {
	rows := make([][]string, len(list))
	for i, s := range list {
		rows[i] = []string{s.Image, size(s.ImageBytes), fmt.Sprint(s.Peers), size(s.SeederBytes), size(s.HTTPBytes), fmt.Sprintf("%.2f", s.Copies), size(s.PeerBytes), size(s.FarBytes)}
	}
	return write(w, []string{"IMAGE", "SIZE", "PEERS", "SEEDED", "BY HTTP", "COPIES SENT", "BY PEERS", "RACK TO RACK"}, rows)
}

// Networks writes a line for each network: where it is and how full its pool.
func Networks(w io.Writer, list []bootserver.NetworkStatus) error {
	rows := make([][]string, len(list))
	for i, n := range list {
		used := ""
		if n.PoolSize > 0 {
			used = fmt.Sprintf("%d of %d", n.PoolUsed, n.PoolSize)
		}
		rows[i] = []string{n.Name, n.Interface, n.Server.String(), n.Subnet, string(n.Mode), used, string(n.Unknown)}
	}
	return write(w, []string{"NETWORK", "INTERFACE", "SERVER", "SUBNET", "MODE", "POOL USED", "UNKNOWN MACHINES"}, rows)
}

// Strangers writes a line for each machine that is not listed: what it is.
func Strangers(w io.Writer, list []bootserver.Stranger, now time.Time) error {
	rows := make([][]string, len(list))
	for n, s := range list {
		row := []string{s.MAC, s.Platform, "", "", "", "", "", "", now.Sub(s.Last).Truncate(time.Second).String() + " ago"}
		if i := s.Inventory; i != nil {
			row[2], row[3] = i.Vendor+" "+i.Product, i.Serial
			row[4], row[5] = fmt.Sprint(i.CPUs), size(i.Memory)
			var disks []string
			for _, d := range i.Disks {
				disks = append(disks, size(d.Bytes))
			}
			row[6] = strings.Join(disks, ", ")
			for _, c := range i.Cards {
				if c.Switch != "" {
					row[7] = c.Switch + " " + c.Port
				}
			}
		}
		rows[n] = row
	}
	return write(w, []string{"MAC", "PLATFORM", "PRODUCT", "SERIAL", "CPUS", "MEMORY", "DISKS", "SWITCH PORT", "HEARD"}, rows)
}

// Stages writes a line for each stage that machines stand at, in the order of a
// boot; those that were never heard of come first.
func Stages(w io.Writer, machines map[string]int) error {
	order := func(name string) int { return stage.Stage(name).Index() }
	names := slices.SortedFunc(maps.Keys(machines), func(a, b string) int {
		return cmp.Or(cmp.Compare(order(a), order(b)), cmp.Compare(a, b))
	})
	rows := make([][]string, len(names))
	for i, name := range names {
		rows[i] = []string{name, fmt.Sprint(machines[name])}
	}
	return write(w, []string{"STAGE", "MACHINES"}, rows)
}

// An ImageRow is what Images shows of an image.
type ImageRow struct {
	images.Manifest
	Digest string
	Tags   []string
}

// Images writes a line for each image: its tags, and what its parts weigh.
func Images(w io.Writer, list []ImageRow) error {
	rows := make([][]string, len(list))
	for i, m := range list {
		rows[i] = []string{m.Ref().String(), strings.Join(m.Tags, ","), m.Arch, m.KernelRelease, size(m.Root.Size), fmt.Sprint(m.Pieces.Count()),
			size(m.Kernel.Size), size(m.Modules.Size), m.Digest[:min(12, len(m.Digest))]}
	}
	return write(w, []string{"IMAGE", "TAGS", "ARCH", "KERNEL", "ROOT", "PIECES", "KERNEL SIZE", "MODULES", "DIGEST"}, rows)
}

// Image writes all there is to say of one image, a fact in each line.
func Image(w io.Writer, m images.Manifest, digest string, tags []string, added time.Time) error {
	part := func(p images.Part) string { return fmt.Sprintf("%s, SHA-256 %s", size(p.Size), p.SHA256) }
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, fact := range [][2]string{
		{"image", m.Ref().String()},
		{"tags", cmp.Or(strings.Join(tags, ", "), "-")},
		{"digest", digest},
		{"added", added.Format(time.DateTime)},
		{"processor", m.Arch},
		{"kernel", m.KernelRelease},
		{"kernel file", part(m.Kernel)},
		{"modules", part(m.Modules)},
		{"root", m.Filesystem + ", " + part(m.Root)},
		{"pieces", fmt.Sprintf("%d of %s", m.Pieces.Count(), size(m.Pieces.Length))},
		{"torrent", part(m.Torrent)},
	} {
		fmt.Fprintf(tw, "%s\t%s\n", fact[0], fact[1])
	}
	return tw.Flush()
}

// A KeyRow is what Keys shows of a key, and -o json.
type KeyRow struct {
	ID    string `json:"id"`
	Signs bool   `json:"signs"` // else it is only trusted
	File  string `json:"file"`
}

// Keys writes a line for each key.
func Keys(w io.Writer, list []KeyRow) error {
	rows := make([][]string, len(list))
	for i, k := range list {
		use := "trusted"
		if k.Signs {
			use = "signs"
		}
		rows[i] = []string{k.ID, use, k.File}
	}
	return write(w, []string{"KEY", "USE", "FILE"}, rows)
}

// A LoaderRow is what Loaders shows of a loader, and -o json.
type LoaderRow struct {
	Name    string `json:"name"`
	State   string `json:"state"` // ok, missing, or other: not the pinned one
	Package string `json:"package"`
	About   string `json:"about"`
}

// Loaders writes a line for each loader.
func Loaders(w io.Writer, list []LoaderRow) error {
	rows := make([][]string, len(list))
	for i, l := range list {
		rows[i] = []string{l.Name, l.State, l.Package, l.About}
	}
	return write(w, []string{"NAME", "STATE", "PACKAGE", "ABOUT"}, rows)
}

// Tokens writes a line for each token: for whom, for what, until when.
func Tokens(w io.Writer, list []access.Token) error {
	rows := make([][]string, len(list))
	for i, t := range list {
		expires := "never"
		if !t.Expires.IsZero() {
			expires = t.Expires.Format(time.DateTime)
		}
		rows[i] = []string{t.Name, string(t.Scope), t.Made.Format(time.DateTime), expires}
	}
	return write(w, []string{"NAME", "SCOPE", "MADE", "EXPIRES"}, rows)
}

// Audit writes a line for each entry of the audit log: when, who, from where, what.
func Audit(w io.Writer, list []journal.Entry) error {
	rows := make([][]string, len(list))
	for i, e := range list {
		rows[i] = []string{e.Time.Local().Format(time.DateTime), e.Admin, e.Peer, e.Text}
	}
	return write(w, []string{"TIME", "WHO", "FROM", "WHAT"}, rows)
}

// write aligns the cells; an empty one becomes a dash, so that columns can be
// counted by awk as well as by eye.
func write(w io.Writer, head []string, rows [][]string) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, strings.Join(head, "\t"))
	for _, row := range rows {
		for i, cell := range row {
			if row[i] = strings.Join(strings.Fields(cell), " "); row[i] == "" {
				row[i] = "-"
			}
		}
		fmt.Fprintln(tw, strings.Join(row, "\t"))
	}
	return tw.Flush()
}

// percent rounds down, so that 100% means all.
func percent(have, all int) string {
	if all == 0 {
		return ""
	}
	return fmt.Sprintf("%d%%", have*100/all)
}

func size(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }
