package peerd

import (
	"context"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"swarmboot/peerd/internal/enginelink"
	"swarmboot/peerd/swarm"
)

// statsEvery is how often the engine tells the root server what it has done; it
// is also its sign of life.
const statsEvery = 250 * time.Millisecond

// RunEngine is the swarm engine. It gets its orders over conn from the root
// server, reads the pieces it passes on from image, and returns when the root
// server has closed the connection or ctx is done, which is not an error.
func RunEngine(ctx context.Context, conn net.Conn, image *os.File, log *slog.Logger) error {
	defer conn.Close()
	link, hello, err := enginelink.Open(conn, image)
	if err != nil {
		return err
	}
	session, err := swarm.New(swarm.Config{
		Pieces:  hello.Pieces,
		Torrent: hello.Torrent,
		Store:   link,
		Listen:  hello.Listen,
		Tracker: hello.Tracker,
		Seeder:  hello.Seeder,
		Peers:   hello.Peers,
		Rack:    hello.Rack,
		Profile: hello.Profile,
		Drafts:  hello.Drafts,
		Log:     log,
	})
	if err != nil {
		return err
	}
	session.Elsewhere(hello.Elsewhere, func([]int) {}) // it has fetched nothing yet
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	wg.Go(func() { cancel(session.Run(ctx)) })
	wg.Go(func() { cancel(link.Run(ctx, session)) })
	wg.Go(func() {
		for sleep(ctx, statsEvery) {
			if err := link.SendStats(session.Stats(), session.Connections()); err != nil {
				cancel(err)
			}
		}
	})
	wg.Wait()
	if err := context.Cause(ctx); err != context.Canceled {
		return err
	}
	return nil
}
