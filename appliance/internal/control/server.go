// Package control is how the commands of one computer ask its running boot
// server what it knows: HTTP over a unix socket in the state folder, which only
// the server's own user can open.
//
// cmd/swarmboot and cmd/lab serve it (Listen, Serve) and ask it (Client).
package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"swarmboot/bootserver"
)

// The questions: each is answered in JSON, most by an array.
const (
	configPath   = "/v1/config"   // a Config
	networksPath = "/v1/networks" // of bootserver.NetworkStatus
	machinesPath = "/v1/machines" // of bootserver.MachineStatus
	swarmsPath   = "/v1/swarms"   // of bootserver.SwarmStatus
	inForcePath  = "/v1/in-force" // a bootserver.Config
	unknownPath  = "/v1/unknown"  // of bootserver.Stranger
)

// A Source knows the answers: a bootserver.Server, and whoever reads its config.
type Source interface {
	Config() Config
	Networks() []bootserver.NetworkStatus
	Machines() []bootserver.MachineStatus
	Swarms() []bootserver.SwarmStatus
	InForce() bootserver.Config
	Strangers() []bootserver.Stranger
}

// Config tells which settings are in force.
type Config struct {
	File    string    `json:"file"`
	Loaded  time.Time `json:"loaded"`            // when those in force were read
	Refused time.Time `json:"refused,omitzero"`  // when a later version of the file was not put in force
	Problem string    `json:"problem,omitempty"` // and why, a line for each mistake
}

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

// Serve answers from source until ctx is done, then closes l.
func Serve(ctx context.Context, l net.Listener, source Source) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+configPath, func(w http.ResponseWriter, _ *http.Request) { answer(w, source.Config()) })
	mux.HandleFunc("GET "+networksPath, func(w http.ResponseWriter, _ *http.Request) { answerList(w, source.Networks()) })
	mux.HandleFunc("GET "+machinesPath, func(w http.ResponseWriter, _ *http.Request) { answerList(w, source.Machines()) })
	mux.HandleFunc("GET "+swarmsPath, func(w http.ResponseWriter, _ *http.Request) { answerList(w, source.Swarms()) })
	mux.HandleFunc("GET "+unknownPath, func(w http.ResponseWriter, _ *http.Request) { answerList(w, source.Strangers()) })
	mux.HandleFunc("GET "+inForcePath, func(w http.ResponseWriter, _ *http.Request) { answer(w, source.InForce()) })
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("control socket: %w", err)
	}
	return nil
}

func answer(w http.ResponseWriter, what any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(what) // an error means that the asker has left
}

// answerList writes list, an empty one as [].
func answerList[T any](w http.ResponseWriter, list []T) { answer(w, append([]T{}, list...)) }
