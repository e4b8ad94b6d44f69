package main

import (
	"context"
	"log/slog"
	"os"
	"os/user"

	"swarmboot/appliance/internal/journal"
	"swarmboot/appliance/internal/power"
	"swarmboot/appliance/internal/settings"
	"swarmboot/appliance/internal/state"
	"swarmboot/bootserver"
	"swarmboot/images"
)

// A changer makes the changes that admins ask for, be it by the API or here: in
// the settings file and in the catalogue, from where the server takes them up.
type changer struct {
	config string // file
	folder state.Folder
}

// A doer makes these changes, and those that are the running server's own.
type doer struct {
	changer
	*bootserver.Server
	*power.Board
}

// Adopt writes a machine into the settings file.
func (c changer) Adopt(a settings.Adoption) error { return settings.Adopt(c.config, a, offered) }

// Tag makes tag stand for the image that to names.
func (c changer) Tag(ctx context.Context, tag, to images.Ref) (now, before images.Ref, err error) {
	catalogue, err := c.folder.Catalogue()
	if err != nil {
		return now, before, err
	}
	image, err := catalogue.Get(to)
	if err != nil {
		return now, before, err
	}
	now = image.Manifest.Ref()
	before, err = catalogue.Tag(ctx, tag, now)
	return now, before, err
}

// Untag takes a tag away.
func (c changer) Untag(ctx context.Context, tag images.Ref) error {
	catalogue, err := c.folder.Catalogue()
	if err != nil {
		return err
	}
	return catalogue.Untag(ctx, tag)
}

// audit is where a command notes what it has changed in a state folder.
func audit(folder *state.Folder) *slog.Logger {
	name := os.Getenv("SUDO_USER")
	if u, err := user.Current(); name == "" && err == nil {
		name = u.Username
	}
	return slog.New(journal.Audit(folder.Audit())).With("audit", true, "admin", name, "peer", "command line")
}
