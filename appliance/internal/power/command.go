package power

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"text/template"
)

// A Call is what the words of a command may ask for.
type Call struct {
	Action string // on, off, cycle, status, or network: boot from the network the next time
	Name   string // of the machine
	MAC    string
	BMC    string // address of its controller; empty: it has none
}

// Fill gives the words of a command for one call. It is an error to ask for
// anything but a field of Call.
func Fill(words []string, call Call) ([]string, error) {
	filled := make([]string, len(words))
	for i, word := range words {
		t, err := template.New("command").Parse(word)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", word, err)
		}
		var text strings.Builder
		if err := t.Execute(&text, call); err != nil {
			return nil, fmt.Errorf("%q: %w", word, err)
		}
		filled[i] = text.String()
	}
	return filled, nil
}

// program is a controller that is a command.
type program struct{ machine Machine }

func (program) close() {}

// run calls the program, without a shell, and gives what it prints.
func (p program) run(ctx context.Context, action string) (string, error) {
	call := Call{Action: action, Name: p.machine.Name, MAC: p.machine.MAC.String()}
	if p.machine.BMC.IsValid() {
		call.BMC = p.machine.BMC.String()
	}
	words, err := Fill(p.machine.Way.Command, call)
	if err != nil {
		return "", err
	}
	var out, said bytes.Buffer
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w: %.512s", strings.Join(words, " "), err, bytes.TrimSpace(said.Bytes()))
	}
	return strings.TrimSpace(out.String()), nil
}

func (p program) state(ctx context.Context) (State, error) {
	said, err := p.run(ctx, "status")
	switch {
	case err != nil:
		return Unknown, err
	case State(said) != IsOn && State(said) != IsOff && State(said) != Unknown:
		return Unknown, errors.New("the command prints " + fmt.Sprintf("%.80q", said) + "; want on, off or unknown")
	}
	return State(said), nil
}

func (p program) bootFromNetwork(ctx context.Context) error {
	_, err := p.run(ctx, "network")
	return err
}

func (p program) do(ctx context.Context, a Action) error {
	_, err := p.run(ctx, string(a))
	return err
}
