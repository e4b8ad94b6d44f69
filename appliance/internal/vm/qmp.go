package vm

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"sync"
)

// monitor is a connection to QEMU's machine protocol: one JSON object a line.
type monitor struct {
	conn   net.Conn
	events chan string // names of events, such as RESET; closed with the connection

	mu      sync.Mutex // one command at a time
	replies chan json.RawMessage
	done    chan struct{} // read has ended
}

func dialMonitor(path string) (*monitor, error) {
	conn, err := net.Dial("unix", path)
	if err != nil {
		return nil, fmt.Errorf("machine control: %w", err)
	}
	m := &monitor{conn: conn, events: make(chan string, 64), replies: make(chan json.RawMessage, 1), done: make(chan struct{})}
	go m.read()
	if err := m.execute("qmp_capabilities", map[string]string{}); err != nil {
		m.close()
		return nil, err
	}
	return m, nil
}

func (m *monitor) read() {
	defer close(m.done)
	defer close(m.events)
	dec := json.NewDecoder(m.conn)
	for {
		var msg struct {
			Event  string
			Return json.RawMessage
			Error  json.RawMessage
		}
		if dec.Decode(&msg) != nil {
			return
		}
		switch {
		case msg.Event != "":
			select {
			case m.events <- msg.Event:
			default: // nobody waits for events
			}
		case msg.Error != nil:
			m.replies <- msg.Error
		case msg.Return != nil:
			m.replies <- nil
		}
	}
}

// execute gives a command. QEMU answers at once.
func (m *monitor) execute(command string, arguments map[string]string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := json.NewEncoder(m.conn).Encode(map[string]any{"execute": command, "arguments": arguments}); err != nil {
		return fmt.Errorf("machine control: %s: %w", command, err)
	}
	select {
	case failure := <-m.replies:
		if failure != nil {
			return fmt.Errorf("machine control: %s: %s", command, failure)
		}
		return nil
	case <-m.done:
		return fmt.Errorf("machine control: %s: QEMU has closed the connection", command)
	}
}

// wait returns when QEMU tells of an event of that name.
func (m *monitor) wait(ctx context.Context, event string) error {
	for {
		select {
		case e, open := <-m.events:
			if !open {
				return fmt.Errorf("wait for %s: QEMU has ended", event)
			}
			if e == event {
				return nil
			}
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", event, context.Cause(ctx))
		}
	}
}

func (m *monitor) close() {
	if m == nil {
		return // QEMU has not come as far
	}
	m.conn.Close()
	<-m.done
}
