package setup

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"text/tabwriter"

	"swarmboot/bootserver"
)

// ErrNoCard says that this computer has no network card that machines could be on.
var ErrNoCard = errors.New("this computer has no network card; plug one in, or load its driver")

// A Console is where the admin is.
type Console struct {
	Out io.Writer
	// Line reads a line, without its end. Secret does so too, and does not show it.
	Line, Secret func() (string, error)
}

// Ask asks until the settings are without mistakes, which check knows, and the
// admin agrees to them. When nothing can be read any more it returns that error.
func Ask(c Console, cards []Card, check func(settings []byte) error) (Answers, error) {
	if len(cards) == 0 {
		return Answers{}, ErrNoCard
	}
	fmt.Fprint(c.Out, "Enter takes what stands in brackets.\n\n")
	for {
		a, err := c.questions(cards)
		if err != nil {
			return a, err
		}
		if err := check(a.Settings()); err != nil {
			fmt.Fprintf(c.Out, "\nThat does not fit together:\n%s\nOnce more.\n\n", indented([]byte(err.Error())))
			continue
		}
		fmt.Fprintf(c.Out, "\n%s\n", indented(a.Settings()))
		if !a.HasAddress() {
			fmt.Fprintf(c.Out, "%s gets the address %s.\n", a.Card.Name, a.Address)
		}
		if yes, err := c.agree("Write this, and start", true); yes || err != nil {
			return a, err
		}
	}
}

func (c Console) questions(cards []Card) (a Answers, err error) {
	if a.Card, err = c.card(cards); err != nil {
		return a, err
	}
	theirs, err := c.agree("Does another DHCP server on that network stay in charge of addresses", len(a.Card.Addresses) > 0)
	if err != nil {
		return a, err
	}
	a.Mode = bootserver.Full
	if theirs {
		a.Mode = bootserver.Proxy
	}
	own := netip.MustParsePrefix("10.77.0.1/24")
	if len(a.Card.Addresses) > 0 {
		own = a.Card.Addresses[0]
	}
	if a.Address, err = question(c, "This server's own address there", own, parseAddress); err != nil {
		return a, err
	}
	if a.Mode == bootserver.Full {
		if a.Pool, err = question(c, "Addresses for the machines", proposedPool(a.Address), parsePool); err != nil {
			return a, err
		}
	}
	if a.Router, err = question(c, "Router of that network", noRouter, parseRouter); err != nil {
		return a, err
	}
	a.Pages, err = c.agree("Open the admin pages to other computers (TLS, by token)", true)
	return a, err
}

func parseAddress(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil || !p.Addr().Is4() {
		return p, fmt.Errorf("%q: want an IPv4 address and the length of its network, such as 10.77.0.1/24", s)
	}
	return p, nil
}

func parsePool(s string) (bootserver.Range, error) {
	first, last, _ := strings.Cut(s, "-")
	from, err := netip.ParseAddr(strings.TrimSpace(first))
	to, err2 := netip.ParseAddr(strings.TrimSpace(last))
	if err != nil || err2 != nil {
		return bootserver.Range{}, fmt.Errorf("%q: want FIRST-LAST, such as 10.77.0.100-10.77.0.199", s)
	}
	return bootserver.Range{First: from, Last: to}, nil
}

// A router is an address, or invalid: there is none.
type router struct{ netip.Addr }

var noRouter router

func (r router) String() string {
	if !r.IsValid() {
		return "none"
	}
	return r.Addr.String()
}

func parseRouter(s string) (router, error) {
	if s == noRouter.String() {
		return noRouter, nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil || !a.Is4() {
		return noRouter, fmt.Errorf("%q: want an IPv4 address, or none", s)
	}
	return router{a}, nil
}

// card shows the cards and has one chosen.
func (c Console) card(cards []Card) (Card, error) {
	w := tabwriter.NewWriter(c.Out, 0, 0, 2, ' ', 0)
	for i, card := range cards {
		state := "no cable"
		if card.Plugged {
			state = "plugged in"
		}
		fmt.Fprintf(w, "  %d\t%s\t%s\t%s\t%s\n", i+1, card.Name, card.MAC, state, strings.Trim(fmt.Sprint(card.Addresses), "[]"))
	}
	if err := w.Flush(); err != nil {
		return Card{}, err
	}
	return question(c, "Card that the machines are on", cards[likely(cards)], func(s string) (Card, error) {
		for i, card := range cards {
			if s == card.Name || s == strconv.Itoa(i+1) {
				return card, nil
			}
		}
		return Card{}, fmt.Errorf("%q is none of them; answer with a number or a name", s)
	})
}

// Password asks for a password twice. The empty one is an answer too.
func (c Console) Password(what string) (string, error) {
	for {
		fmt.Fprintf(c.Out, "%s (not shown): ", what)
		first, err := c.Secret()
		if err != nil || first == "" {
			return "", err
		}
		fmt.Fprint(c.Out, "\nThe same again: ")
		second, err := c.Secret()
		fmt.Fprintln(c.Out)
		switch {
		case err != nil:
			return "", err
		case first == second:
			return first, nil
		}
		fmt.Fprintln(c.Out, "  these were two; once more")
	}
}

// agree asks a question that has two answers.
func (c Console) agree(what string, otherwise bool) (bool, error) {
	word := map[bool]string{true: "y", false: "n"}[otherwise]
	s, err := question(c, what+", y or n", word, func(s string) (string, error) {
		switch s = strings.ToLower(s); s {
		case "y", "yes":
			return "y", nil
		case "n", "no":
			return "n", nil
		}
		return "", fmt.Errorf("%q: want y or n", s)
	})
	return s == "y", err
}

// question asks until the answer can be used.
func question[T any](c Console, what string, proposed T, parse func(string) (T, error)) (T, error) {
	for {
		fmt.Fprintf(c.Out, "%s [%v]: ", what, proposed)
		s, err := c.Line()
		if err != nil {
			return proposed, err
		}
		if s = strings.TrimSpace(s); s == "" {
			return proposed, nil
		}
		answer, err := parse(s)
		if err == nil {
			return answer, nil
		}
		fmt.Fprintf(c.Out, "  %v\n", err)
	}
}

func indented(text []byte) string {
	return "  | " + strings.ReplaceAll(strings.TrimSpace(string(text)), "\n", "\n  | ")
}
