// Package control is how the commands ask a running boot server, and tell it what
// to change: over the API (package api), through a unix socket in the state
// folder, which only the server's own user can open, or from another computer by
// URL and token.
//
// cmd/swarmboot serves it (Listen, Serve) and asks it (Client); packages lab and
// training ask too.
package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/user"
	"strconv"
	"time"

	"swarmboot/appliance/internal/access"
	"swarmboot/appliance/internal/api"
	"swarmboot/appliance/internal/settings"

	"golang.org/x/sys/unix"
)

// inForcePath has all settings in force, as settings.Complete: Go's own types, for
// commands of the same build, and so not a part of the API.
const inForcePath = "/in-force"

// Listen opens the socket. It takes the place of a socket that a dead server
// left behind, never that of a living one.
func Listen(socket string) (net.Listener, error) {
	if conn, err := net.Dial("unix", socket); err == nil {
		conn.Close()
		return nil, fmt.Errorf("control socket %s: a boot server runs with this state folder already; stop it first", socket)
	}
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove the old control socket: %w", err)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	if err := os.Chmod(socket, 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return l, nil
}

// Serve answers on l with the API and with the settings in force until ctx is
// done, then closes l.
func Serve(ctx context.Context, l net.Listener, handler http.Handler, inForce func() settings.Complete) error {
	mux := http.NewServeMux()
	mux.Handle(api.Prefix+"/", handler)
	mux.HandleFunc("GET "+inForcePath, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(inForce()) // an error means that the asker has left
	})
	srv := &http.Server{
		Handler: mux, ReadHeaderTimeout: 5 * time.Second,
		BaseContext: func(net.Listener) context.Context { return ctx }, // streams of events end with it
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return access.WithAdmin(ctx, access.Admin{Name: userOf(conn), Peer: "control socket"})
		},
	}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("control socket: %w", err)
	}
	return nil
}

// userOf is whose process is at the other end, as the kernel says.
func userOf(conn net.Conn) string {
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return ""
	}
	uid := ""
	raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			uid = strconv.Itoa(int(cred.Uid))
		}
	})
	if u, err := user.LookupId(uid); err == nil {
		return u.Username
	}
	return uid
}
