package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"

	"swarmboot/appliance/internal/access"
	"swarmboot/appliance/internal/settings"
	"swarmboot/appliance/internal/setup"
	"swarmboot/appliance/internal/state"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// Where the package's service looks for its settings, and systemd-networkd for
// what a card is to have.
const (
	installedSettings = "/etc/swarmboot/swarmboot.yaml"
	cardFile          = "/etc/systemd/network/10-swarmboot.network"
)

// errBegun says that nothing is left to ask.
var errBegun = errors.New("names a network already; edit it, and 'swarmboot check' it")

func setupCommand() *cobra.Command {
	var firstBoot bool
	cmd := &cobra.Command{
		Use:   "setup",
		Short: "Ask for the machines' network, write the first settings and start the service",
		Long: `Ask which network card the machines are on, whether another DHCP server stays in
charge there, and for addresses; write ` + installedSettings + `, make
the first admin's token and start the service. Settings that name a network are
left alone.

If the card does not have the server's address, systemd-networkd is told to give
it, where it runs; elsewhere the network settings of this system are yours.

  --first-boot   as on the console of the appliance disk: ask for root's password
                 too, and do nothing at all once the settings name a network`,
		Example: "  swarmboot setup",
		Args:    none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if os.Geteuid() != 0 {
				return errors.New("this sets up the whole system; run it as root")
			}
			err := runSetup(cmd.Context(), terminal(cmd.InOrStdin(), cmd.OutOrStdout()), firstBoot)
			if firstBoot && errors.Is(err, errBegun) {
				return nil
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&firstBoot, "first-boot", false, "ask for root's password too; do nothing if it is set up")
	return cmd
}

func runSetup(ctx context.Context, c setup.Console, firstBoot bool) error {
	if err := begun(); err != nil {
		return err
	}
	cards, err := networkCards()
	if err != nil {
		return err
	}
	line := c.Line
	c.Line = func() (string, error) { // somebody may have answered on another console meanwhile
		s, err := line()
		return s, errors.Join(err, begun())
	}
	fmt.Fprint(c.Out, "\nSwarmboot is not set up yet. ")
	answers, err := setup.Ask(c, cards, func(data []byte) error { return settings.Check(installedSettings, data, offered) })
	if err != nil {
		return err
	}
	if firstBoot {
		if err := setRootPassword(ctx, c); err != nil {
			return err
		}
	}
	if err := giveAddress(ctx, c.Out, answers); err != nil {
		return err
	}
	if err := settings.Replace(installedSettings, answers.Settings(), offered); err != nil {
		return err
	}
	if err := giveToken(c.Out, state.Folder(state.Default)); err != nil {
		return err
	}
	if err := command(ctx, "", "systemctl", "enable", "--now", "swarmboot.service"); err != nil {
		return fmt.Errorf("%w; 'journalctl -u swarmboot' says why", err)
	}
	fmt.Fprint(c.Out, `
The boot server runs. What is left:
  swarmboot image build lab@1 --from debian:trixie --package openssh-server
  swarmboot machine unknown                              # after a machine was switched on
  swarmboot machine adopt MAC --name NAME --image lab@1

`)
	return nil
}

// begun is errBegun, with the file, if the settings name a network.
func begun() error {
	yes, err := settings.Begun(installedSettings)
	if err == nil && yes {
		err = fmt.Errorf("%s %w", installedSettings, errBegun)
	}
	return err
}

// terminal is the console that a command was given.
func terminal(in io.Reader, out io.Writer) setup.Console {
	lines := bufio.NewReader(in)
	line := func() (string, error) {
		s, err := lines.ReadString('\n')
		if err != nil {
			return "", fmt.Errorf("read an answer: %w", err)
		}
		return strings.TrimRight(s, "\r\n"), nil
	}
	secret := line
	if f, ok := in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		secret = func() (string, error) {
			s, err := term.ReadPassword(int(f.Fd()))
			return string(s), err
		}
	}
	return setup.Console{Out: out, Line: line, Secret: secret}
}

// networkCards lists the Ethernet cards of this computer, also those made of others.
func networkCards() ([]setup.Card, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list network cards: %w", err)
	}
	var cards []setup.Card
	for _, i := range all {
		if i.Flags&net.FlagLoopback != 0 || len(i.HardwareAddr) != 6 {
			continue
		}
		card := setup.Card{Name: i.Name, MAC: i.HardwareAddr.String(), Plugged: i.Flags&net.FlagRunning != 0}
		addrs, err := i.Addrs()
		if err != nil {
			return nil, fmt.Errorf("addresses of %s: %w", i.Name, err)
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() && !p.Addr().IsLinkLocalUnicast() {
				card.Addresses = append(card.Addresses, p)
			}
		}
		cards = append(cards, card)
	}
	return cards, nil
}

// giveAddress has the card get the server's address.
func giveAddress(ctx context.Context, out io.Writer, a setup.Answers) error {
	if a.HasAddress() {
		return nil
	}
	if command(ctx, "", "systemctl", "is-active", "--quiet", "systemd-networkd") != nil {
		fmt.Fprintf(out, "Give %s the address %s in this system's network settings.\n", a.Card.Name, a.Address)
		return nil
	}
	if err := os.WriteFile(cardFile, a.Network(), 0o644); err != nil {
		return fmt.Errorf("give %s its address: %w", a.Card.Name, err)
	}
	if err := command(ctx, "", "networkctl", "reload"); err != nil {
		return err
	}
	return command(ctx, "", "networkctl", "reconfigure", a.Card.Name)
}

func setRootPassword(ctx context.Context, c setup.Console) error {
	password, err := c.Password("Password of root on this server; empty: none, nobody can log in")
	if err != nil || password == "" {
		return err
	}
	return command(ctx, "root:"+password+"\n", "chpasswd")
}

// giveToken makes the first admin's token and shows it, unless there is one.
func giveToken(out io.Writer, folder state.Folder) error {
	const admin = "admin"
	tokens := tokensOf(&folder)
	list, err := tokens.List()
	if err != nil || len(list) > 0 {
		return err
	}
	secret, err := tokens.New(admin, access.Write, 0)
	if err != nil {
		return err
	}
	audit(&folder).Info("token made", "token", admin, "scope", access.Write)
	if err := folder.Settle(); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "\nToken of %s for the admin pages, port 8470; it is not shown again:\n  %s\n", admin, secret)
	return err
}

// command runs a program of the system, which is told what to read.
func command(ctx context.Context, reads, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(reads)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
