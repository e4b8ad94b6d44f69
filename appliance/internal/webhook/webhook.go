// Package webhook tells programs elsewhere how machines come along: by POST, an
// event for each stage that a machine reaches, signed as the Standard Webhooks
// (standardwebhooks.com) are, so that a receiver has a library for it.
//
// A change travels watch (watch.go), which finds out what is new, then the queue
// of each hook and deliver (deliver.go), which tries again. cmd/swarmboot is the
// only caller.
package webhook

import (
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"swarmboot/appliance/internal/follow"
	"swarmboot/appliance/internal/secret"
	"swarmboot/bootserver/fleet"
	"swarmboot/initramfs/stage"
)

// A Hook is one program that wants to be told.
type Hook struct {
	Name   string        // in the log
	URL    string        // where it listens
	Secret []byte        // signs what it is told
	Stages []stage.Stage // of which it is told
}

// ReadSecret reads the secret of a hook: 16 bytes or more in base64, as
// 'openssl rand -base64 32' makes them, after whsec_ or alone.
func ReadSecret(file string) ([]byte, error) {
	text, err := secret.Read(file)
	if err != nil {
		return nil, fmt.Errorf("webhook: %w", err)
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(text, "whsec_"))
	if err != nil || len(key) < 16 {
		return nil, fmt.Errorf("secret of a webhook: %s: want 16 bytes or more in base64; 'openssl rand -base64 32' makes some", file)
	}
	return key, nil
}

// An Event is what a hook is told.
type Event struct {
	Type    string      `json:"type"` // machine. and the stage
	Time    time.Time   `json:"timestamp"`
	Machine Machine     `json:"data"`
	stage   stage.Stage // of Type
}

// Machine is the one that an event is about.
type Machine struct {
	MAC    string      `json:"mac"`
	Name   string      `json:"name,omitempty"`
	Rack   string      `json:"rack,omitempty"`
	Group  string      `json:"group,omitempty"`
	Image  string      `json:"image,omitempty"`
	Stage  stage.Stage `json:"stage"`
	At     stage.Stage `json:"at,omitempty"`     // with stage failed: where
	Reason string      `json:"reason,omitempty"` // with stage failed: why
}

const (
	lookEvery = 250 * time.Millisecond
	// queued bounds what waits for one hook: a hall of thousands that boots while
	// its receiver is away.
	queued = 16384
)

// Run tells hooks what source has to tell from now on, until ctx is done.
func Run(ctx context.Context, source follow.Source, hooks []Hook, log *slog.Logger) error {
	if len(hooks) == 0 {
		return nil
	}
	client := &http.Client{Timeout: 10 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	var wg sync.WaitGroup
	defer wg.Wait()
	queues := make([]chan Event, len(hooks))
	for i, hook := range hooks {
		queues[i] = make(chan Event, queued)
		wg.Go(func() { deliver(ctx, client, hook, queues[i], log.With("webhook", hook.Name)) })
	}
	known := map[string]seen{}
	first := true // what was before is no news
	follow.Machines(ctx, source, lookEvery, func(changed []fleet.MachineStatus) {
		for _, event := range news(known, changed) {
			for i, hook := range hooks {
				if first || !slices.Contains(hook.Stages, event.stage) {
					continue
				}
				select {
				case queues[i] <- event:
				default:
					log.Error("webhook is not told: too many events wait for it", "webhook", hook.Name, "machine", event.Machine.MAC, "stage", event.stage)
				}
			}
		}
		first = false
	})
	return nil
}
