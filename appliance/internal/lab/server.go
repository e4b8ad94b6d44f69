package lab

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	"swarmboot/appliance/internal/settings"
	"swarmboot/appliance/internal/vm"
	"swarmboot/images"

	"golang.org/x/crypto/ssh"
)

// The machines come last, so that Add can list one more.
var config = template.Must(template.New("settings").Parse(`# The lab's boot server.
server:
  state: {{.State}}
  loaders: {{.Loaders}}
  initramfs: {{.Initramfs}}
networks:
  lab:
    interface: {{.Interface}}
    address: {{.Network}}
    pool: 10.77.0.100-10.77.0.199
defaults:
  image: {{.Image}}
  kernel_args: console=ttyS0 loglevel=4 mitigations=off panic=10
  authorized_keys: [{{.SSHKey}}]
unknown: default
machines:
{{range .Machines}}{{template "machine" .}}{{end}}
{{- define "machine"}}  - {name: {{.Name}}, mac: {{.MAC}}, address: {{.Address}}}
{{end}}`))

func (l *Lab) settingsFile() string { return filepath.Join(l.dir, "lab.yaml") }

// serve starts the boot server and waits until it answers.
func (l *Lab) serve(ctx context.Context, lan *vm.LAN, o Options, machines []machine) error {
	if err := o.State.Lend(l.state()); err != nil {
		return err
	}
	if err := learn(l.state(), o.State, o.Image); err != nil {
		return err
	}
	if err := l.writeSettings(o, machines); err != nil {
		return fmt.Errorf("write the server's settings: %w", err)
	}
	answers := func(ctx context.Context) error { _, err := l.client.Machines(ctx); return err }
	_, err := lan.Serve(ctx, answers, filepath.Join(l.dir, "server.log"), l.program, "serve", "--config", l.settingsFile())
	return err
}

func (l *Lab) writeSettings(o Options, machines []machine) error {
	sshKey, err := l.makeSSHKey()
	if err != nil {
		return err
	}
	var text bytes.Buffer
	if err := config.Execute(&text, map[string]any{
		"State": settings.Quote(string(l.state())), "Loaders": settings.Quote(o.Loaders), "Initramfs": settings.Quote(o.Initramfs),
		"Interface": vm.Bridge, "Network": network, "Image": o.Image.Manifest.Ref(), "SSHKey": sshKey, "Machines": machines,
	}); err != nil {
		return err
	}
	return os.WriteFile(l.settingsFile(), text.Bytes(), 0o644)
}

// addSettings lists one more machine.
func (l *Lab) addSettings(m machine) error {
	file, err := os.OpenFile(l.settingsFile(), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return errors.Join(config.ExecuteTemplate(file, "machine", m), file.Close())
}

// list adds a machine to the settings, waits until the server has taken them up,
// and returns the image that the machine has there.
func (l *Lab) list(ctx context.Context, m machine) (images.Ref, error) {
	if err := l.addSettings(m); err != nil {
		return images.Ref{}, fmt.Errorf("add %s to the server's settings: %w", m.Name(), err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, vm.Stall, fmt.Errorf("the boot server does not take up %s; its log says why: %s/server.log", l.settingsFile(), l.dir))
	defer cancel()
	for tick := time.NewTicker(200 * time.Millisecond); ; {
		inForce, err := l.client.InForce(ctx)
		if err != nil {
			return images.Ref{}, err
		}
		for _, listed := range inForce.Machines {
			if listed.MAC.String() == m.MAC() {
				return listed.Image, nil
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return images.Ref{}, context.Cause(ctx)
		}
	}
}

// sshKey is the file of the key by which root logs in to the machines.
func (l *Lab) sshKey() string { return filepath.Join(l.dir, "ssh_key") }

// makeSSHKey makes it and returns its public half, as settings have it.
func (l *Lab) makeSSHKey() (string, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", err
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(l.sshKey(), pem.EncodeToMemory(block), 0o600); err != nil {
		return "", err
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))), nil
}
