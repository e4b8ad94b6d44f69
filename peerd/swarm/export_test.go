package swarm

import (
	"net"
)

// NewLinked is New with something of the test's under each connection.
func NewLinked(cfg Config, link func(net.Conn) net.Conn) (*Session, error) {
	port, err := openPort(cfg.Listen, cfg.Log, link)
	if err != nil {
		return nil, err
	}
	s, err := port.Join(cfg)
	if err != nil {
		port.Close()
		return nil, err
	}
	s.own = true
	return s, nil
}
