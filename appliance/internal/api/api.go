// Package api is what programs ask and tell a running boot server: REST and
// server-sent events under /api/v1, described by OpenAPI 3.1 at
// /api/v1/openapi.json and in docs/openapi.json.
//
// The description is made from the Go types below and in bootserver, so it
// cannot differ from what is sent. The admin pages (appliance/webui) are
// one asker among others: what they show, this gives. cmd/swarmboot puts the
// handler behind the admin's listener.
package api

import (
	"context"
	"net/http"

	"swarmboot/bootserver"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// Prefix is where all paths begin.
const Prefix = "/api/v1"

// A Source knows the answers; bootserver.Server is one.
type Source interface {
	Machines() []bootserver.MachineStatus
	MachinesSince(last uint64) ([]bootserver.MachineStatus, uint64)
	Machine(mac string) (bootserver.MachineDetail, bool)
	Images() ([]bootserver.ImageStatus, error)
	Swarms() []bootserver.SwarmStatus
	Throughput(image string) bootserver.Throughput
	Networks() []bootserver.NetworkStatus
	Leases() []bootserver.Lease
	Strangers() []bootserver.Stranger
}

// Handler answers from source. version is that of the program.
func Handler(source Source, version string) http.Handler {
	mux := http.NewServeMux()
	register(mux, source, version)
	return mux
}

// Description is the OpenAPI document.
func Description(version string) ([]byte, error) {
	return register(http.NewServeMux(), nil, version).OpenAPI().MarshalJSON()
}

// A list without entries is [], never null.
func init() { huma.DefaultArrayNullable = false }

// answer is a JSON body.
type answer[T any] struct{ Body T }

func register(mux *http.ServeMux, source Source, version string) huma.API {
	cfg := huma.DefaultConfig("Swarmboot", version)
	cfg.Info.Description = "What a boot server knows of its machines, images, swarms and networks."
	cfg.OpenAPIPath = Prefix + "/openapi"
	cfg.DocsPath, cfg.SchemasPath = "", "" // no pages that load scripts from elsewhere
	cfg.CreateHooks = nil                  // no links to schemas in the answers
	api := humago.New(mux, cfg)

	get(api, "/machines", "machines", "How far each machine is, and what is wrong with it", func(context.Context, *struct{}) ([]bootserver.MachineStatus, error) {
		return source.Machines(), nil
	})
	get(api, "/machines/{mac}", "machines", "All about one machine: this boot, those before, and the median to compare with", func(_ context.Context, in *struct {
		MAC string `path:"mac" doc:"MAC address of the card that it boots from" example:"52:54:00:77:00:01" maxLength:"23"`
	}) (bootserver.MachineDetail, error) {
		d, ok := source.Machine(in.MAC)
		if !ok {
			return d, huma.Error404NotFound("no machine with the MAC address " + in.MAC + " is known; /machines lists all")
		}
		return d, nil
	})
	get(api, "/images", "images", "The images in the catalogue, and how many machines run each", func(context.Context, *struct{}) ([]bootserver.ImageStatus, error) {
		return source.Images()
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
	events(api, source)
	return api
}

// get adds a question.
func get[In, Out any](api huma.API, path, tag, summary string, ask func(context.Context, *In) (Out, error)) {
	huma.Register(api, huma.Operation{
		OperationID: "get" + idOf(path), Method: http.MethodGet, Path: Prefix + path, Summary: summary, Tags: []string{tag},
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
