package watch

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"swarmboot/appliance/internal/api"
	"swarmboot/bootserver/fleet"

	tea "charm.land/bubbletea/v2"
)

// A screen is what the user sees and has chosen.
type screen struct {
	ctx    context.Context
	source Source

	width, height int
	now           time.Time
	begun         bool // something was heard
	lost          error
	machines      map[string]fleet.MachineStatus
	swarms        api.SwarmsEvent

	filter string
	typing bool     // the filter
	shown  []string // MACs in the order in which they stand, as far as filter lets through
	chosen string   // MAC; stays chosen when others move
	open   bool     // the chosen one is shown in detail
	detail looked
}

func newScreen(ctx context.Context, source Source) screen {
	return screen{ctx: ctx, source: source, width: 80, height: 24, now: time.Now(), machines: map[string]fleet.MachineStatus{}}
}

func (s screen) Init() tea.Cmd { return tick() }

// Update takes in what has happened.
func (s screen) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		s.width, s.height = msg.Width, msg.Height
	case heard:
		s.begun, s.lost = true, nil
		if msg.all {
			clear(s.machines)
		}
		for _, m := range msg.machines {
			s.machines[m.MAC] = m
		}
		s.arrange()
	case api.RemovedEvent:
		for _, mac := range msg {
			delete(s.machines, mac)
		}
		s.arrange()
	case api.SwarmsEvent:
		s.swarms = msg
	case lost:
		s.lost = msg.err
	case looked:
		if msg.err != nil || msg.detail.MAC == s.chosen {
			s.detail = msg
		}
	case moment:
		s.now = time.Time(msg)
		if s.open {
			return s, tea.Batch(tick(), look(s.ctx, s.source, s.chosen))
		}
		return s, tick()
	case tea.KeyPressMsg:
		return s.press(msg)
	}
	return s, nil
}

func (s screen) press(key tea.KeyPressMsg) (tea.Model, tea.Cmd) {
	if key.String() == "ctrl+c" {
		return s, tea.Quit
	}
	if s.typing {
		switch key.String() {
		case "enter":
			s.typing = false
		case "esc":
			s.typing, s.filter = false, ""
		case "backspace":
			if runes := []rune(s.filter); len(runes) > 0 {
				s.filter = string(runes[:len(runes)-1])
			}
		default:
			s.filter += key.Text
		}
		s.arrange()
		return s, nil
	}
	switch key.String() {
	case "q":
		return s, tea.Quit
	case "esc":
		if s.open {
			s.open = false
		} else {
			s.filter = ""
			s.arrange()
		}
	case "/":
		s.typing, s.open = true, false
	case "enter":
		if s.chosen != "" && !s.open {
			s.open, s.detail = true, looked{}
			return s, look(s.ctx, s.source, s.chosen)
		}
		s.open = false
	case "up", "k":
		return s.move(-1)
	case "down", "j":
		return s.move(1)
	case "pgup":
		return s.move(-s.rows())
	case "pgdown", "space":
		return s.move(s.rows())
	case "home", "g":
		return s.move(-len(s.shown))
	case "end", "G":
		return s.move(len(s.shown))
	}
	return s, nil
}

// move chooses the machine that many lines below.
func (s screen) move(by int) (tea.Model, tea.Cmd) {
	if len(s.shown) == 0 {
		return s, nil
	}
	s.chosen = s.shown[min(max(s.place()+by, 0), len(s.shown)-1)]
	if s.open {
		s.detail = looked{}
		return s, look(s.ctx, s.source, s.chosen)
	}
	return s, nil
}

// place is the line of the chosen machine.
func (s screen) place() int { return max(slices.Index(s.shown, s.chosen), 0) }

// urgency is the order of conditions: who needs somebody comes first.
var urgency = []fleet.Condition{fleet.Failed, fleet.Stuck, fleet.Silent, fleet.Booting, fleet.Up, fleet.Unseen}

// arrange finds out which machines are shown, and in which order.
func (s *screen) arrange() {
	words := strings.Fields(strings.ToLower(s.filter))
	s.shown = nil
	for mac, m := range s.machines {
		text := strings.ToLower(strings.Join([]string{m.Name, m.MAC, m.Rack, m.Group, m.Image, string(m.Stage), string(m.Condition), m.Why}, " "))
		if !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(text, word) }) {
			s.shown = append(s.shown, mac)
		}
	}
	slices.SortFunc(s.shown, func(a, b string) int {
		m, n := s.machines[a], s.machines[b]
		return cmp.Or(slices.Index(urgency, m.Condition)-slices.Index(urgency, n.Condition), strings.Compare(m.Name, n.Name), strings.Compare(a, b))
	})
	if !slices.Contains(s.shown, s.chosen) && !s.open {
		s.chosen = ""
		if len(s.shown) > 0 {
			s.chosen = s.shown[0]
		}
	}
}
