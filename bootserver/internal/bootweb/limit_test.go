package bootweb

import (
	"errors"
	"io"
	"net"
	"testing"
)

func TestLimit(t *testing.T) {
	below, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := limited(below, 1)
	accepted := make(chan net.Conn, 2)
	ended := make(chan error, 1)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				ended <- err
				return
			}
			accepted <- conn
		}
	}()
	for range 2 {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	first := <-accepted
	if _, ok := first.(io.ReaderFrom); !ok {
		t.Error("a connection has no ReadFrom: files are copied, not sent by sendfile")
	}
	select {
	case <-accepted:
		t.Error("two connections are open; want one")
	default:
	}
	first.Close()
	first.Close() // as net/http does; it must not count twice
	second := <-accepted
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Close = %v; want %v", err, net.ErrClosed)
	}
	second.Close()
}
