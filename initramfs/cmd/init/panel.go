package main

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"swarmboot/initramfs/stage"
)

// A panel is what a screen shows of a boot: which machine, from what, how far,
// from whom, and what is wrong.
type panel struct {
	machine string // name, if known, and MAC
	image   string // name@version and the server
	network string // card and address
	at      stage.Stage
	got     *stage.Progress // of the image; nil: peerd has not told yet
	silent  time.Duration   // for how long nothing of it has come
	wrong   string          // why the last attempt has ended
	next    string          // what follows; empty: the next attempt runs
}

// panelStages are those that a machine passes before the eyes of init.
var panelStages = []stage.Stage{stage.Init, stage.Network, stage.Swarm, stage.Root, stage.SwitchRoot}

const (
	panelHeight = 11
	reasonLines = 3
	quiet       = 5 * time.Second // a time without news that is not worth a word
)

// lines are panelHeight lines of width letters at most. They are of ASCII: not
// every console has more.
func (p panel) lines(width int) []string {
	rows := []string{
		" SWARMBOOT   " + cmp.Or(p.machine, "starting"),
		"",
		" image     " + cmp.Or(p.image, "-"),
		" network   " + cmp.Or(p.network, "-"),
		" stage     " + p.trail(),
		" pieces    -",
		"",
	}
	if p.got != nil {
		rows[5] = " pieces    " + bar(p.got.Have, p.got.Pieces, 20) + " " + pieces(*p.got)
		rows[6] = " from      " + sources(*p.got, p.silent)
	}
	if p.wrong != "" {
		label := " wrong     "
		text := p.wrong
		if p.next == "" {
			label = " before    " // the attempt before this one
		} else {
			text += "; " + p.next
		}
		for _, line := range wrap(text, width-len(label), reasonLines) {
			rows = append(rows, label+line)
			label = strings.Repeat(" ", len(label))
		}
	}
	for len(rows) < panelHeight-1 {
		rows = append(rows, "")
	}
	rows = append(rows, strings.Repeat("-", width))
	for i := range rows {
		rows[i] = rows[i][:min(len(rows[i]), width)]
	}
	return rows
}

// trail is the way through the stages, with the one that the machine is at in
// brackets.
func (p panel) trail() string {
	var words []string
	for _, s := range panelStages {
		if s == p.at {
			words = append(words, "["+string(s)+"]")
		} else {
			words = append(words, string(s))
		}
	}
	if p.at == stage.Discovered {
		return "not listed; it waits to be adopted"
	}
	return strings.Join(words, " - ")
}

// bar is a line of width letters that is full when have is all.
func bar(have, all, width int) string {
	full := 0
	if all > 0 {
		full = width * have / all
	}
	return "[" + strings.Repeat("#", full) + strings.Repeat(".", width-full) + "]"
}

func pieces(p stage.Progress) string {
	text := fmt.Sprintf("%d of %d", p.Have, p.Pieces)
	if p.Hot > 0 {
		text += fmt.Sprintf(", %d of the %d that a boot reads", p.HotHave, p.Hot)
	}
	return text
}

// sources tells from whom the pieces came.
func sources(p stage.Progress, silent time.Duration) string {
	const mega = 1e6
	peers := "peers"
	if p.Peers == 1 {
		peers = "peer"
	}
	text := fmt.Sprintf("%d %s; %.1f MB from machines, %.1f MB from server", p.Peers, peers, float64(p.FromPeers)/mega, float64(p.FromServer)/mega)
	if silent >= quiet {
		text += fmt.Sprintf("; NOTHING for %v", silent.Round(time.Second))
	}
	return text
}

// wrap breaks a text into lines of that width, most of them at most; what is
// left over is in the kernel log.
func wrap(text string, width, most int) (lines []string) {
	line := ""
	for _, word := range strings.Fields(text) {
		for len(word) > width {
			if line != "" {
				lines, line = append(lines, line), ""
			}
			lines, word = append(lines, word[:width]), word[width:]
		}
		switch {
		case line == "":
			line = word
		case len(line)+1+len(word) <= width:
			line += " " + word
		default:
			lines, line = append(lines, line), word
		}
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines[:min(len(lines), most)]
}
