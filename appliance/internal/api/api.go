// Package api is what programs ask and tell a running boot server: REST and
// server-sent events under /api/v1, described by OpenAPI 3.1 at
// /api/v1/openapi.json and in docs/openapi.json.
//
// The description is made from the Go types below and in bootserver, so it
// cannot differ from what is sent. The admin pages (appliance/webui) and the
// commands (package control) are askers among others: what they show, this
// gives. This file has the questions, changes.go what can be changed, events.go
// what is told unasked. cmd/swarmboot puts the handler behind the admin's listener,
// where package access asks who comes, and behind the control socket.
package api

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"swarmboot/appliance/internal/journal"
	"swarmboot/bootserver"
	"swarmboot/bootserver/fleet"
	"swarmboot/bootserver/mirror"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// Prefix is where all paths begin.
const Prefix = "/api/v1"

// A Source knows the answers: a bootserver.Server, together with whoever reads
// its settings and its log.
type Source interface {
	Settings() Settings
	Log(mac string, after uint64) []journal.Line
	Machines() []fleet.MachineStatus
	MachinesSince(last uint64) (changed []fleet.MachineStatus, removed []string, now uint64)
	Machine(mac string) (fleet.MachineDetail, bool)
	Images() ([]bootserver.ImageStatus, error)
	Origin() mirror.OriginStatus
	Swarms() []bootserver.SwarmStatus
	Throughput(image string) bootserver.Throughput
	Networks() []bootserver.NetworkStatus
	Leases() []bootserver.Lease
	Strangers() []bootserver.Stranger
}

// Settings tells which settings are in force.
type Settings struct {
	File    string    `json:"file"`              // on the server
	Loaded  time.Time `json:"loaded"`            // when those in force were read
	Refused time.Time `json:"refused,omitzero"`  // when a later version of the file was not put in force
	Problem string    `json:"problem,omitempty"` // and why, a line for each mistake
	Restart []string  `json:"restart,omitempty"` // what of the file takes effect after a restart of the server
}

// Handler answers from source, makes changes by doer and tells log of them.
// version is that of the program.
func Handler(source Source, doer Doer, version string, log *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	register(mux, source, doer, version, log)
	return mux
}

// Description is the OpenAPI document.
func Description(version string) ([]byte, error) {
	return register(http.NewServeMux(), nil, nil, version, nil).OpenAPI().MarshalJSON()
}

// A list without entries is [], never null.
func init() { huma.DefaultArrayNullable = false }

// answer is a JSON body.
type answer[T any] struct{ Body T }

func register(mux *http.ServeMux, source Source, doer Doer, version string, log *slog.Logger) huma.API {
	cfg := huma.DefaultConfig("Swarmboot", version)
	cfg.Info.Description = "What a boot server knows of its machines, images, swarms and networks, and what of it can be changed. " +
		"On any address but loopback each request carries a token (Authorization: Bearer, from 'swarmboot token new'); what changes something takes one of scope write everywhere."
	cfg.Info.License = &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"}
	cfg.Servers = []*huma.Server{{URL: "/", Description: "where admin.listen says, https://127.0.0.1:8470 or the like"}}
	cfg.Components.SecuritySchemes = map[string]*huma.SecurityScheme{"token": {Type: "http", Scheme: "bearer"}}
	cfg.Security = []map[string][]string{{"token": {}}, {}} // {}: on loopback looking is free
	cfg.OpenAPIPath = Prefix + "/openapi"
	cfg.DocsPath, cfg.SchemasPath = "", "" // no pages that load scripts from elsewhere
	cfg.CreateHooks = nil                  // no links to schemas in the answers
	api := humago.New(mux, cfg)

	get(api, "/machines", "machines", "How far each machine is, and what is wrong with it", func(context.Context, *struct{}) ([]fleet.MachineStatus, error) {
		return source.Machines(), nil
	})
	get(api, "/machines/{mac}", "machines", "All about one machine: this boot, those before, and the median to compare with", func(_ context.Context, in *OneMachine) (fleet.MachineDetail, error) {
		return in.find(source)
	}, http.StatusNotFound)
	get(api, "/machines/{mac}/log", "machines", "The last lines of the server's log about one machine, the oldest first", func(_ context.Context, in *struct {
		OneMachine
		After uint64 `query:"after" doc:"leave out lines up to this number"`
	}) ([]journal.Line, error) {
		d, err := in.find(source)
		if err != nil {
			return nil, err
		}
		return source.Log(d.MAC, in.After), nil
	}, http.StatusNotFound, http.StatusUnprocessableEntity)
	get(api, "/images", "images", "The images in the catalogue, and how many machines run each", func(context.Context, *struct{}) ([]bootserver.ImageStatus, error) {
		return source.Images()
	})
	get(api, "/origin", "images", "The images that the catalogue lacks and that are fetched from the origin", func(context.Context, *struct{}) (mirror.OriginStatus, error) {
		return source.Origin(), nil
	})
	get(api, "/swarms", "swarms", "What the server has sent of each image, and what the machines gave each other", func(context.Context, *struct{}) ([]bootserver.SwarmStatus, error) {
		return source.Swarms(), nil
	})
	get(api, "/throughput", "swarms", "Bytes of one image in each of the last seconds", func(_ context.Context, in *struct {
		Image string `query:"image" required:"true" doc:"name@version" maxLength:"127"`
	}) (bootserver.Throughput, error) {
		return source.Throughput(in.Image), nil
	})
	get(api, "/networks", "networks", "The networks that are served", func(context.Context, *struct{}) ([]bootserver.NetworkStatus, error) {
		return source.Networks(), nil
	})
	get(api, "/leases", "networks", "The addresses that machines have been given", func(context.Context, *struct{}) ([]bootserver.Lease, error) {
		return source.Leases(), nil
	})
	get(api, "/strangers", "networks", "Machines that asked for a boot and are not in the config", func(context.Context, *struct{}) ([]bootserver.Stranger, error) {
		return source.Strangers(), nil
	})
	get(api, "/settings", "server", "Which settings are in force, and why those in the file are not", func(context.Context, *struct{}) (Settings, error) {
		return source.Settings(), nil
	})
	changes(api, doer, log)
	events(api, source)
	return api
}

// OneMachine is a path that names a machine.
type OneMachine struct {
	MAC string `path:"mac" doc:"MAC address of the card that it boots from" example:"52:54:00:77:00:01" maxLength:"23"`
}

func (in OneMachine) find(source Source) (fleet.MachineDetail, error) {
	d, ok := source.Machine(in.MAC)
	if !ok {
		return d, huma.Error404NotFound("no machine with the MAC address " + in.MAC + " is known; /machines lists all")
	}
	return d, nil
}

// get adds a question; refused are the statuses with which it may not be answered.
func get[In, Out any](api huma.API, path, tag, summary string, ask func(context.Context, *In) (Out, error), refused ...int) {
	huma.Register(api, huma.Operation{
		OperationID: "get" + idOf(path), Method: http.MethodGet, Path: Prefix + path, Summary: summary, Tags: []string{tag},
		Errors: append([]int{http.StatusUnauthorized}, refused...),
	}, func(ctx context.Context, in *In) (*answer[Out], error) {
		out, err := ask(ctx, in)
		if err != nil {
			return nil, err
		}
		return &answer[Out]{out}, nil
	})
}

// idOf makes a word of a path: /machines/{mac} is -machines-mac.
func idOf(path string) string {
	id := []byte(path)
	out := id[:0]
	for _, c := range id {
		switch c {
		case '/':
			out = append(out, '-')
		case '{', '}':
		default:
			out = append(out, c)
		}
	}
	return string(out)
}
