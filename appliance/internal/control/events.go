package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"swarmboot/appliance/internal/api"
)

// Events calls machines, removed and swarms with what the server tells of its own
// accord, until ctx is done or the connection is lost. The first call of machines
// and of swarms has everything.
func (c *Client) Events(ctx context.Context, machines func(api.MachinesEvent), removed func(api.RemovedEvent), swarms func(api.SwarmsEvent)) error {
	resp, err := c.send(ctx, http.MethodGet, api.Prefix+"/events", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 64<<20) // the first event has all machines in one line
	kind := ""
	for lines.Scan() {
		field, value, _ := bytes.Cut(lines.Bytes(), []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch {
		case string(field) == "event":
			kind = string(value)
		case string(field) == "data" && kind == "machines":
			err = decode(value, machines)
		case string(field) == "data" && kind == "removed":
			err = decode(value, removed)
		case string(field) == "data" && kind == "swarms":
			err = decode(value, swarms)
		}
		if err != nil {
			return fmt.Errorf("event %s of the boot server: %w", kind, err)
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	return failure{ErrUnreachable, fmt.Sprintf("the boot server at %s has ended the connection", c.at)}
}

func decode[T any](data []byte, then func(T)) error {
	var event T
	if err := json.Unmarshal(data, &event); err != nil {
		return err
	}
	then(event)
	return nil
}
