package peerd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"swarmboot/initramfs/stage"
)

// StatusSocket is where the root server tells its Status, as HTTP GET /status.
// An abstract socket needs no file: peerd has none on the root it serves.
const StatusSocket = "@swarmboot-peerd"

// Status is what peerd says about itself on the machine.
type Status struct {
	Machine  string          `json:"machine"`
	Image    string          `json:"image"`
	Stage    stage.Stage     `json:"stage"`
	Progress *stage.Progress `json:"progress"`
	PID      int             `json:"pid"`        // of the root server
	Engine   int             `json:"engine_pid"` // of the swarm engine; 0 while none runs
}

func (s *rootServer) status() Status {
	_, _, pid := s.engine.stats()
	return Status{
		Machine:  s.cfg.Description.Machine,
		Image:    s.cfg.Description.Image,
		Stage:    s.reporter.stage(),
		Progress: s.progress(),
		PID:      selfPID,
		Engine:   pid,
	}
}

// listenStatus opens the status socket. A machine boots without it as well, so
// there may be none.
func (s *rootServer) listenStatus() net.Listener {
	listener, err := net.Listen("unix", s.cfg.StatusSocket)
	if err != nil {
		s.log.Warn("peerd status will not work", "err", err)
		return nil
	}
	return listener
}

// serveStatus answers until ctx is done.
func (s *rootServer) serveStatus(ctx context.Context, listener net.Listener) {
	if listener == nil {
		return
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(s.status())
	})
	server := &http.Server{Handler: mux, ReadTimeout: 5 * time.Second, WriteTimeout: 5 * time.Second}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		s.log.Warn("peerd status has ended", "err", err)
	}
}

// AskStatus asks the root server that listens on socket.
func AskStatus(ctx context.Context, socket string) (Status, error) {
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://peerd/status", nil)
	if err != nil {
		return Status{}, fmt.Errorf("ask peerd: %w", err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return Status{}, fmt.Errorf("ask peerd: %w; does it run on this machine?", err)
	}
	defer resp.Body.Close()
	var status Status
	if err := json.NewDecoder(resp.Body).Decode(&status); err != nil {
		return Status{}, fmt.Errorf("ask peerd: %w", err)
	}
	return status, nil
}

var selfPID = os.Getpid()

// resident is how much memory a process holds, in bytes: anonymous pages and
// those of its executable, but not those of files in memory like the image. It
// is 0 for a process that is not there.
func resident(pid int) int64 {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0
	}
	var sum int64
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		if name == "RssAnon" || name == "RssFile" {
			kib, _, _ := strings.Cut(strings.TrimSpace(value), " ")
			n, _ := strconv.ParseInt(kib, 10, 64)
			sum += n << 10
		}
	}
	return sum
}
