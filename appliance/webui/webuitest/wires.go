// Package webuitest connects tests to the admin's listener without a network, so
// that they can have time of their own (testing/synctest). webui and cmd/swarmboot
// use it.
package webuitest

import "net"

// Wires is a listener whose connections are pipes.
type Wires chan net.Conn

// Dial connects to whoever listens.
func (w Wires) Dial() net.Conn {
	mine, theirs := net.Pipe()
	w <- theirs
	return mine
}

// Accept waits for Dial.
func (w Wires) Accept() (net.Conn, error) {
	if conn, ok := <-w; ok {
		return conn, nil
	}
	return nil, net.ErrClosed
}

// Close ends Accept.
func (w Wires) Close() error { close(w); return nil }

// Addr is no address.
func (w Wires) Addr() net.Addr { return &net.TCPAddr{} }
