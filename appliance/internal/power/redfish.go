package power

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"

	"github.com/stmcginnis/gofish"
	"github.com/stmcginnis/gofish/redfish"
)

// service is a controller that speaks Redfish.
type service struct {
	client *gofish.APIClient
	system *redfish.ComputerSystem
}

func openRedfish(ctx context.Context, m Machine, password string) (controller, error) {
	trust, err := m.Way.trust()
	if err != nil {
		return nil, err
	}
	c, err := gofish.ConnectContext(ctx, gofish.ClientConfig{
		Endpoint: "https://" + m.at(443).String(), Username: m.Way.User, Password: password,
		BasicAuth:  true, // controllers have few sessions, and forget to end them
		HTTPClient: &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: trust, DisableKeepAlives: true}},
	})
	if unknown := (*tls.CertificateVerificationError)(nil); errors.As(err, &unknown) {
		return nil, fmt.Errorf("%w; name its certificate in power.%s.certificate, or say verify: false", err, m.Way.Name)
	}
	if err != nil {
		return nil, err
	}
	s := service{client: c}
	systems, err := c.Service.Systems()
	if err != nil {
		return nil, err
	}
	if s.system, err = choose(systems, m.MAC); err != nil {
		return nil, err
	}
	return s, nil
}

// trust says which certificates are believed.
func (w Way) trust() (*tls.Config, error) {
	if w.Certificate == "" {
		return &tls.Config{InsecureSkipVerify: w.Unverified}, nil // the admin has chosen so
	}
	text, err := os.ReadFile(w.Certificate)
	if err != nil {
		return nil, err
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		return nil, err
	}
	if !roots.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s: no certificate in PEM", w.Certificate)
	}
	return &tls.Config{RootCAs: roots}, nil
}

// choose finds the machine among those that one controller has: in a chassis of
// many it is known by its network card.
func choose(systems []*redfish.ComputerSystem, mac net.HardwareAddr) (*redfish.ComputerSystem, error) {
	if len(systems) == 1 {
		return systems[0], nil
	}
	for _, system := range systems {
		cards, err := system.EthernetInterfaces()
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(cards, func(card *redfish.EthernetInterface) bool {
			one, err := net.ParseMAC(card.MACAddress)
			return err == nil && slices.Equal(one, mac)
		}) {
			return system, nil
		}
	}
	return nil, fmt.Errorf("it has %d systems, and none with the card %s", len(systems), mac)
}

func (s service) close() { s.client.Logout() }

func (s service) state(context.Context) (State, error) {
	switch s.system.PowerState {
	case redfish.OnPowerState:
		return IsOn, nil
	case redfish.OffPowerState:
		return IsOff, nil
	}
	return Unknown, nil
}

func (s service) bootFromNetwork(context.Context) error {
	return s.system.SetBoot(redfish.Boot{BootSourceOverrideTarget: redfish.PxeBootSourceOverrideTarget, BootSourceOverrideEnabled: redfish.OnceBootSourceOverrideEnabled})
}

func (s service) do(_ context.Context, a Action) error {
	kind := map[Action]redfish.ResetType{On: redfish.OnResetType, Off: redfish.ForceOffResetType, Cycle: redfish.PowerCycleResetType}[a]
	// Few controllers can take the power away for a moment.
	if can := s.system.SupportedResetTypes; kind == redfish.PowerCycleResetType && !slices.Contains(can, kind) {
		kind = redfish.ForceRestartResetType
	}
	return s.system.Reset(kind)
}
