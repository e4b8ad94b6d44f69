package api

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"strings"

	"swarmboot/appliance/internal/access"
	"swarmboot/appliance/internal/power"
	"swarmboot/appliance/internal/settings"
	"swarmboot/bootserver"
	"swarmboot/bootserver/fleet"
	"swarmboot/images"
	"swarmboot/images/catalogue"

	"github.com/danielgtaylor/huma/v2"
)

// A Doer makes the changes that are asked for.
type Doer interface {
	// Adopt writes a machine into the settings file: settings.ErrListed,
	// settings.Problems.
	Adopt(settings.Adoption) error
	// Tag makes tag stand for the image that to names, be it by a tag of its own,
	// and tells which that is and what tag stood for before:
	// catalogue.ErrNotFound.
	Tag(ctx context.Context, tag, to images.Ref) (now, before images.Ref, err error)
	// Untag takes a tag away: catalogue.ErrNotFound.
	Untag(ctx context.Context, tag images.Ref) error
	// Override has a machine boot an image in place of the settings':
	// bootserver.ErrUnlisted, catalogue.ErrNotFound.
	Override(mac string, to images.Ref, stays bool) (fleet.Override, error)
	// Rollback has it boot the one that it ran before: bootserver.ErrUnlisted,
	// bootserver.ErrNoRollback.
	Rollback(mac string) (fleet.Override, error)
	// Release gives it back to the settings: bootserver.ErrUnlisted.
	Release(mac string) error
	// Power asks whether a machine is switched on: power.ErrNone.
	Power(ctx context.Context, mac string) (power.State, error)
	// Switch switches it, and has it boot from the network next, if so:
	// power.ErrNone.
	Switch(ctx context.Context, mac string, a power.Action, network bool) error
}

// Adoption is a machine to be written into the settings file.
type Adoption struct {
	MAC     string `json:"mac" doc:"MAC address of the card that it boots from" example:"52:54:00:77:00:01" maxLength:"23"`
	Name    string `json:"name,omitempty" doc:"host name" maxLength:"63"`
	Rack    string `json:"rack,omitempty" doc:"rack that it stands in" maxLength:"63"`
	Group   string `json:"group,omitempty" doc:"group that it belongs to" maxLength:"63"`
	Network string `json:"network,omitempty" doc:"network that it boots on, if not its rack's" maxLength:"63"`
	Address string `json:"address,omitempty" doc:"its own address, if not one from the pool" maxLength:"45"`
	Image   string `json:"image,omitempty" doc:"image, if not that of its group, rack or network" maxLength:"255"`
}

// Next is the image that a machine is to boot in place of the settings'.
type Next struct {
	Image string `json:"image" doc:"name@version or name@tag" example:"lab@2" maxLength:"127"`
	Stays bool   `json:"stays,omitempty" doc:"at each boot, until it is taken back; else at the next boot alone"`
}

// Power tells whether a machine is switched on.
type Power struct {
	Power power.State `json:"power" enum:"on,off,unknown"`
}

// Switching is what to do with a machine's power.
type Switching struct {
	Action  power.Action `json:"action" enum:"on,off,cycle" doc:"off is at once, as by pulling the plug; cycle switches one that is off on"`
	Network bool         `json:"network,omitempty" doc:"boot from the network card the next time, whatever the boot order says"`
}

// Target is the image that a tag stands for.
type Target struct {
	Version string `json:"version" doc:"version or tag of the same name" example:"2" minLength:"1" maxLength:"127"`
}

// Moved tells what a tag stands for now, and what it stood for before.
type Moved struct {
	Image  string `json:"image" doc:"name@version"`
	Before string `json:"before,omitempty" doc:"name@version; empty if the tag is new"`
}

// TagPath names a tag.
type TagPath struct {
	Name string `path:"name" doc:"name of the image" example:"lab" maxLength:"127"`
	Tag  string `path:"tag" doc:"the tag" example:"stable" maxLength:"127"`
}

func (p TagPath) ref() (images.Ref, error) {
	ref, err := images.ParseRef(p.Name + "@" + p.Tag)
	if err != nil {
		return ref, huma.Error422UnprocessableEntity(err.Error())
	}
	return ref, nil
}

// changes adds what can be changed. Each change that is made stands in the log
// with who made it.
func changes(api huma.API, doer Doer, log *slog.Logger) {
	audited := func(ctx context.Context, what string, facts ...any) {
		by := access.By(ctx)
		log.Info(what, append([]any{"audit", true, "admin", by.Name, "peer", by.Peer}, facts...)...)
	}

	huma.Register(api, change(http.MethodPost, "/machines", "machines", http.StatusNoContent,
		"Adopt a machine: write it into the settings file, which is taken up within seconds", http.StatusConflict),
		func(ctx context.Context, in *struct{ Body Adoption }) (*struct{}, error) {
			b := in.Body
			mac, err := net.ParseMAC(b.MAC)
			if err != nil || len(mac) != 6 {
				return nil, huma.Error422UnprocessableEntity("mac: " + b.MAC + " is no MAC address; want six hex bytes such as 52:54:00:12:34:56")
			}
			err = doer.Adopt(settings.Adoption{MAC: mac, Name: b.Name, Rack: b.Rack, Group: b.Group, Network: b.Network, Address: b.Address, Image: b.Image})
			if err != nil {
				return nil, refusal(err)
			}
			audited(ctx, "machine listed", "machine", mac.String(), "name", b.Name, "rack", b.Rack, "group", b.Group, "image", b.Image)
			return nil, nil
		})
	huma.Register(api, change(http.MethodPut, "/images/{name}/tags/{tag}", "images", http.StatusOK,
		"Make a tag stand for an image; machines that boot by the tag get it at their next boot", http.StatusNotFound),
		func(ctx context.Context, in *struct {
			TagPath
			Body Target
		}) (*answer[Moved], error) {
			tag, err := in.ref()
			if err != nil {
				return nil, err
			}
			to, err := images.ParseRef(in.Name + "@" + in.Body.Version)
			if err != nil {
				return nil, huma.Error422UnprocessableEntity(err.Error())
			}
			now, before, err := doer.Tag(ctx, tag, to)
			if err != nil {
				return nil, refusal(err)
			}
			moved := Moved{Image: now.String()}
			if !before.IsZero() {
				moved.Before = before.String()
			}
			audited(ctx, "tag moved", "tag", tag.String(), "image", moved.Image, "before", moved.Before)
			return &answer[Moved]{moved}, nil
		})
	huma.Register(api, change(http.MethodDelete, "/images/{name}/tags/{tag}", "images", http.StatusNoContent,
		"Take a tag away; the image stays", http.StatusNotFound),
		func(ctx context.Context, in *TagPath) (*struct{}, error) {
			tag, err := in.ref()
			if err != nil {
				return nil, err
			}
			if err := doer.Untag(ctx, tag); err != nil {
				return nil, refusal(err)
			}
			audited(ctx, "tag removed", "tag", tag.String())
			return nil, nil
		})
	overrides(api, doer, audited)
}

// overrides adds what a machine boots in place of the settings' image.
func overrides(api huma.API, doer Doer, audited func(ctx context.Context, what string, facts ...any)) {
	huma.Register(api, change(http.MethodPut, "/machines/{mac}/override", "machines", http.StatusOK,
		"Have a machine boot an image in place of the settings': at its next boot alone, or until it is taken back", http.StatusNotFound),
		func(ctx context.Context, in *struct {
			OneMachine
			Body Next
		}) (*answer[fleet.Override], error) {
			to, err := images.ParseRef(in.Body.Image)
			if err != nil {
				return nil, huma.Error422UnprocessableEntity(err.Error())
			}
			o, err := doer.Override(in.MAC, to, in.Body.Stays)
			if err != nil {
				return nil, refusal(err)
			}
			audited(ctx, "machine overridden", "machine", in.MAC, "image", o.Image, "stays", o.Stays)
			return &answer[fleet.Override]{o}, nil
		})
	huma.Register(api, change(http.MethodPost, "/machines/{mac}/rollback", "machines", http.StatusOK,
		"Have a machine boot the image that it ran before this one, until that is taken back", http.StatusNotFound, http.StatusConflict),
		func(ctx context.Context, in *OneMachine) (*answer[fleet.Override], error) {
			o, err := doer.Rollback(in.MAC)
			if err != nil {
				return nil, refusal(err)
			}
			audited(ctx, "machine rolled back", "machine", in.MAC, "image", o.Image)
			return &answer[fleet.Override]{o}, nil
		})
	huma.Register(api, change(http.MethodDelete, "/machines/{mac}/override", "machines", http.StatusNoContent,
		"Give a machine back to the settings, from its next boot on", http.StatusNotFound),
		func(ctx context.Context, in *OneMachine) (*struct{}, error) {
			if err := doer.Release(in.MAC); err != nil {
				return nil, refusal(err)
			}
			audited(ctx, "machine released", "machine", in.MAC)
			return nil, nil
		})

	get(api, "/machines/{mac}/power", "machines", "Whether a machine is switched on, as its management controller says", func(ctx context.Context, in *OneMachine) (Power, error) {
		is, err := doer.Power(ctx, in.MAC)
		if err != nil {
			return Power{}, powerless(err)
		}
		return Power{is}, nil
	}, http.StatusConflict, http.StatusBadGateway)
	huma.Register(api, change(http.MethodPost, "/machines/{mac}/power", "machines", http.StatusNoContent,
		"Switch a machine on or off, through its management controller", http.StatusConflict, http.StatusBadGateway),
		func(ctx context.Context, in *struct {
			OneMachine
			Body Switching
		}) (*struct{}, error) {
			if err := doer.Switch(ctx, in.MAC, in.Body.Action, in.Body.Network); err != nil {
				return nil, powerless(err)
			}
			audited(ctx, "machine switched", "machine", in.MAC, "action", in.Body.Action, "network", in.Body.Network)
			return nil, nil
		})
}

// powerless says whether the settings are the reason for err, or a controller.
func powerless(err error) error {
	if errors.Is(err, power.ErrNone) {
		return huma.Error409Conflict(err.Error())
	}
	return huma.Error502BadGateway(err.Error())
}

// change describes an operation that takes a token of scope write.
func change(method, path, tag string, status int, summary string, refused ...int) huma.Operation {
	return huma.Operation{
		OperationID: strings.ToLower(method) + idOf(path), Method: method, Path: Prefix + path, Summary: summary, Tags: []string{tag},
		DefaultStatus: status, MaxBodyBytes: 64 << 10, Security: []map[string][]string{{"token": {}}},
		Errors: append([]int{http.StatusUnauthorized, http.StatusForbidden, http.StatusUnprocessableEntity}, refused...),
	}
}

// refusal says whose fault err is: the asker's, unless a file of the server could
// not be read or written.
func refusal(err error) error {
	var file *fs.PathError
	switch {
	case errors.Is(err, catalogue.ErrNotFound), errors.Is(err, bootserver.ErrUnlisted):
		return huma.Error404NotFound(err.Error())
	case errors.Is(err, settings.ErrListed), errors.Is(err, bootserver.ErrNoRollback):
		return huma.Error409Conflict(err.Error())
	case errors.As(err, &file):
		return huma.Error500InternalServerError(err.Error())
	}
	return huma.Error422UnprocessableEntity(err.Error())
}
