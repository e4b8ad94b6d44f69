package watch

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"swarmboot/appliance/internal/api"
	"swarmboot/appliance/internal/journal"
	"swarmboot/bootserver/fleet"
	"swarmboot/initramfs/stage"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
)

// hall is a Source of made-up machines.
type hall struct{ connections int }

func (h *hall) Events(ctx context.Context, machines func(api.MachinesEvent), _ func(api.RemovedEvent), swarms func(api.SwarmsEvent)) error {
	h.connections++
	machines(rack(h.connections))
	return errors.New("gone")
}

func (h *hall) Machine(_ context.Context, mac string) (fleet.MachineDetail, error) {
	return fleet.MachineDetail{MachineStatus: fleet.MachineStatus{MAC: mac, Name: "n07"},
		Boot: &fleet.Timeline{Stages: map[stage.Stage]int64{stage.DHCP: 0, stage.Kernel: 1500}}}, nil
}

func (h *hall) Log(context.Context, string, uint64) ([]journal.Line, error) {
	return []journal.Line{{Text: "offer sent image=lab@1"}}, nil
}

func rack(n int) (all []fleet.MachineStatus) {
	for i := range n {
		m := fleet.MachineStatus{MAC: fmt.Sprintf("52:54:00:00:00:%02x", i), Name: fmt.Sprintf("n%02d", i), Image: "lab@1", Stage: stage.Ready}
		m.Condition = fleet.Up
		if i == 7 {
			m.Condition, m.Stage, m.Why = fleet.Stuck, stage.Root, "no pieces"
		}
		all = append(all, m)
	}
	return all
}

// show is what the screen says after it was told msgs, without colours.
func show(s screen, msgs ...tea.Msg) (screen, string) {
	for _, msg := range msgs {
		next, cmd := s.Update(msg)
		s = next.(screen)
		if cmd != nil {
			if said, ok := cmd().(looked); ok {
				next, _ = s.Update(said)
				s = next.(screen)
			}
		}
	}
	return s, ansi.Strip(s.View().Content)
}

func key(text string) tea.KeyPressMsg {
	if codes := map[string]rune{"enter": tea.KeyEnter, "down": tea.KeyDown, "end": tea.KeyEnd, "esc": tea.KeyEscape}; codes[text] != 0 {
		return tea.KeyPressMsg{Code: codes[text]}
	}
	return tea.KeyPressMsg{Code: []rune(text)[0], Text: text}
}

func TestWhoNeedsSomebodyComesFirst(t *testing.T) {
	s := newScreen(t.Context(), &hall{})
	s, text := show(s, tea.WindowSizeMsg{Width: 100, Height: 20}, heard{rack(40), true})
	lines := strings.Split(text, "\n")
	if len(lines) != 20 {
		t.Fatalf("%d lines on a screen of 20", len(lines))
	}
	if !strings.Contains(lines[0], "40 machines   ▲ 1 stuck   ● 39 up") {
		t.Errorf("above stands %q", lines[0])
	}
	if !strings.Contains(lines[4], "n07") || !strings.Contains(lines[4], "no pieces") || !strings.Contains(lines[5], "n00") {
		t.Errorf("the machines begin with\n%s\n%s\nwant the stuck one first", lines[4], lines[5])
	}
	for _, line := range lines {
		if ansi.StringWidth(line) > 100 {
			t.Errorf("line is wider than the screen: %q", line)
		}
	}

	// Whoever is chosen stays so when others move.
	s, _ = show(s, key("down"))
	s, _ = show(s, heard{[]fleet.MachineStatus{{MAC: "52:54:00:00:00:09", Name: "n09", Health: fleet.Health{Condition: fleet.Failed}}}, false})
	if s.machines[s.chosen].Name != "n00" {
		t.Errorf("chosen is %s now; want n00 as before", s.machines[s.chosen].Name)
	}
	if _, text = show(s, key("end")); !strings.Contains(text, "n39") {
		t.Errorf("the last machine is not on the screen after End:\n%s", text)
	}
	if s, _ = show(s, heard{rack(3), true}); len(s.shown) != 3 {
		t.Errorf("%d machines after a new beginning; want 3", len(s.shown))
	}
	if s, _ = show(s, api.RemovedEvent{"52:54:00:00:00:01"}); len(s.shown) != 2 {
		t.Errorf("%d machines after one was removed; want 2", len(s.shown))
	}
}

func TestFilterAndDetail(t *testing.T) {
	s, text := show(newScreen(t.Context(), &hall{}), tea.WindowSizeMsg{Width: 100, Height: 20}, heard{rack(40), true}, key("/"), key("s"), key("t"), key("u"), key("enter"))
	if len(s.shown) != 1 || !strings.Contains(text, "filter: stu, 1 of 40") {
		t.Fatalf("filter shows %d machines:\n%s", len(s.shown), text)
	}
	s, text = show(s, key("enter"))
	for _, want := range []string{"kernel", "1.5s", "offer sent image=lab@1"} {
		if !strings.Contains(text, want) {
			t.Errorf("detail lacks %q:\n%s", want, text)
		}
	}
	s, _ = show(s, key("esc"), key("esc"))
	if s.open || len(s.shown) != 40 {
		t.Errorf("after esc twice open = %v, %d machines; want all", s.open, len(s.shown))
	}
}

func TestConnectionsAreMadeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var told []tea.Msg
		done := make(chan struct{})
		go func() {
			defer close(done)
			listen(ctx, &hall{}, func(msg tea.Msg) { told = append(told, msg) })
		}()
		time.Sleep(again + time.Second)
		cancel()
		<-done
		if len(told) != 4 {
			t.Fatalf("told %v; want two connections, each lost", told)
		}
		if first := told[2].(heard); !first.all || len(first.machines) != 2 {
			t.Errorf("the second connection begins with %+v; want everything", first)
		}
		s, text := show(newScreen(ctx, &hall{}), tea.WindowSizeMsg{Width: 200, Height: 20}, told[2], told[3])
		if s.lost == nil || !strings.Contains(text, "gone; trying again") || !strings.Contains(text, "n01") {
			t.Errorf("a lost connection is not told, or the machines are gone:\n%s", text)
		}
	})
}
