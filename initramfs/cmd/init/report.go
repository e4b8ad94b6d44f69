package main

import (
	"context"
	"time"

	"swarmboot/initramfs/stage"
)

// enter begins the way to a stage.
func (b *boot) enter(s stage.Stage) {
	b.next = s
	b.console.Show(func(p *panel) { p.at, p.next = s, "" })
}

// reached tells the server. A report that does not arrive is no reason to stop.
func (b *boot) reached(ctx context.Context, s stage.Stage) {
	b.report(ctx, stage.Report{Stage: s})
}

// failed tells people and, if it can be reached, the server.
func (b *boot) failed(ctx context.Context, err error, next string) {
	r := stage.Report{Stage: stage.Failed, At: b.next, Reason: err.Error(), Image: b.image}
	if b.args.MAC != nil {
		r.Machine = b.args.MAC.String()
	}
	b.console.Banner(r, next)
	r.Detail = &stage.Detail{Console: stage.Console()}
	b.report(ctx, r)
}

// report gives the server two chances within a few seconds.
func (b *boot) report(ctx context.Context, r stage.Report) {
	if b.server == nil {
		return
	}
	r.Machine, r.Image = b.args.MAC.String(), b.image
	ctx, cancel := context.WithTimeout(ctx, 4*time.Second)
	defer cancel()
	err := b.server.Send(ctx, r)
	if err == nil {
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(500 * time.Millisecond):
		err = b.server.Send(ctx, r)
	}
	if err != nil {
		b.console.Say("the server does not hear us: %v", err)
	}
}
