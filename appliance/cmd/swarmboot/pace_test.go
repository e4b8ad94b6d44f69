package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"swarmboot/bootserver/fleet"

	"github.com/spf13/cobra"
)

// Whichever machine answers first, what they say is in the order asked for, and
// nobody waits for another.
func TestPaceKeepsTheOrder(t *testing.T) {
	machines := []fleet.MachineStatus{{Name: "n1"}, {Name: "n2"}, {MAC: "52:54:00:77:00:03"}}
	for _, c := range []struct {
		pace        pace
		took, third time.Duration
	}{
		{pace{atOnce: 3}, 30 * time.Second, 10 * time.Second},
		{pace{atOnce: 1}, 60 * time.Second, 60 * time.Second},
		{pace{atOnce: 3, stagger: 25 * time.Second}, 60 * time.Second, 60 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			var out bytes.Buffer
			cmd := &cobra.Command{}
			cmd.SetOut(&out)
			cmd.SetContext(t.Context())
			began := time.Now()
			err := c.pace.each(cmd, machines, func(_ context.Context, m fleet.MachineStatus) (string, error) {
				switch m.Name {
				case "n1":
					time.Sleep(30 * time.Second)
				case "n2":
					time.Sleep(20 * time.Second)
					return "", errors.New("no answer")
				default:
					time.Sleep(10 * time.Second)
				}
				return fmt.Sprint("on after ", time.Since(began)), nil
			})
			if took := time.Since(began); took != c.took {
				t.Errorf("%+v: took %v; want %v", c.pace, took, c.took)
			}
			if want := fmt.Sprintf("n1 on after 30s\n52:54:00:77:00:03 on after %v\n", c.third); out.String() != want {
				t.Errorf("%+v: printed\n%swant\n%s", c.pace, out.String(), want)
			}
			if err == nil || err.Error() != "n2: no answer" {
				t.Errorf("%+v: %v; want what n2 has refused", c.pace, err)
			}
		})
	}
}

// An admin who interrupts leaves what is not begun.
func TestPaceStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cmd := &cobra.Command{}
		cmd.SetContext(ctx)
		asked := 0
		err := pace{atOnce: 1}.each(cmd, make([]fleet.MachineStatus, 5), func(ctx context.Context, _ fleet.MachineStatus) (string, error) {
			asked++
			cancel()
			return "", ctx.Err()
		})
		if asked != 1 || !errors.Is(err, context.Canceled) {
			t.Errorf("%d machines were asked, %v; want one alone", asked, err)
		}
	})
}
