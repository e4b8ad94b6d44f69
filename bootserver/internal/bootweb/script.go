package bootweb

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"swarmboot/initramfs/stage"
)

// unreachable is how long a machine waits when the boot server does not answer.
const unreachable = 10 * time.Second

// A language is what one loader's scripts are written in. The attempt is counted
// from 0; base is the URL of this server.
type language interface {
	// boot is the script that boots p.
	boot(p Plan, base string, attempt int) string
	// apology is the script for a machine that cannot be booted for now.
	apology(mac, reason, base string, attempt int) string
}

// Scripts are what iPXE and GRUB are told for p on their first attempt.
func Scripts(p Plan, base string) (forIPXE, forGRUB string) {
	return ipxe{}.boot(p, base, 0), grub{}.boot(p, base, 0)
}

// script tells a loader, in its language, what to boot.
func (s *web) script(in language) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		mac, ok := parseMAC(w, q.Get("mac"))
		if !ok {
			return
		}
		attempt, _ := strconv.Atoi(q.Get("attempt"))
		base := s.server.Base(mac, own(r))
		log := s.Log.With("machine", mac.String(), "platform", q.Get("platform"), "version", q.Get("version"), "uuid", q.Get("uuid"))
		plan, err := s.server.Plan(mac)
		if errors.Is(err, ErrUnknown) {
			log.Warn("script refused", "peer", r.RemoteAddr, "err", err)
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		itself := r.Method == http.MethodGet && s.is(mac, r)
		if err != nil {
			log.Error("machine cannot be booted", "stage", stage.Kernel, "err", err)
			sendText(w, in.apology(mac.String(), err.Error(), base, attempt))
			if itself {
				s.server.Report(stage.Report{Machine: mac.String(), Stage: stage.Script})
				s.server.Report(stage.Report{Machine: mac.String(), Stage: stage.Failed, At: stage.Kernel, Reason: err.Error()})
			}
			return
		}
		log.Info("script sent", "image", plan.Image.Manifest.Ref(), "attempt", attempt)
		if itself {
			plan.KernelArgs = append(slices.Clone(plan.KernelArgs), s.server.Claim(mac)...)
		}
		plan.platform, plan.version = q.Get("platform"), strings.ReplaceAll(q.Get("version"), " ", "+") // as iPXE does not escape it
		sendText(w, in.boot(plan, base, attempt))
		if plan.makesWay() {
			return
		}
		s.reached(mac, stage.Script, r)
		if plan.Mate != "" {
			log.Info("kernel and initramfs come from a rack mate", "peer", plan.Mate)
			s.reached(mac, stage.Kernel, r) // the mate does not tell
		}
	})
}

// plain keeps what iPXE prints as it stands: no variables, no operators, one
// line, and not longer than a screen.
func plain(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\n' || r == ';':
			b.WriteByte(',')
		case r < ' ' || r > '~' || strings.ContainsRune("$|&#\"'\\", r):
			b.WriteByte('?')
		default:
			b.WriteRune(r)
		}
		if b.Len() >= 400 {
			break
		}
	}
	return b.String()
}
