package bootweb

import (
	"io"
	"net"
	"sync"
)

// limited lets so many connections of l be open at once; more wait to be
// accepted. It is not netutil's: the connections of that one have no ReadFrom,
// by which net/http sends a file without copying it (sendfile).
func limited(l net.Listener, connections int) net.Listener {
	return &limitListener{Listener: l, open: make(chan struct{}, connections), closed: make(chan struct{})}
}

type limitListener struct {
	net.Listener
	open   chan struct{} // holds one for each open connection
	once   sync.Once
	closed chan struct{}
}

func (l *limitListener) Accept() (net.Conn, error) {
	select {
	case l.open <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	conn, err := l.Listener.Accept()
	if err != nil {
		<-l.open
		return nil, err
	}
	return &limitedConn{Conn: conn, end: sync.OnceFunc(func() { <-l.open })}, nil
}

func (l *limitListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

type limitedConn struct {
	net.Conn
	end func()
}

// ReadFrom implements io.ReaderFrom with that of the connection below.
func (c *limitedConn) ReadFrom(r io.Reader) (int64, error) { return io.Copy(c.Conn, r) }

func (c *limitedConn) Close() error {
	defer c.end()
	return c.Conn.Close()
}
