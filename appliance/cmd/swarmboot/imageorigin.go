package main

import (
	"errors"

	"swarmboot/appliance/internal/state"
	"swarmboot/images"
	"swarmboot/images/catalogue"
	"swarmboot/images/origin"

	"github.com/spf13/cobra"
)

const originManual = `A store is a bucket of any S3-compatible object store, s3:https://HOST/BUCKET/PATH,
or to pull from a folder on a web server, https://HOST/PATH, that has a copy of the
folder images/ in it. The bucket's keys are in a file as AWS's tools write it
(--credentials), or in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.`

func imagePushCommand(folder *state.Folder) *cobra.Command {
	var to origin.Config
	cmd := &cobra.Command{
		Use:   "push NAME@VERSION --to URL",
		Short: "Bring an image into a store that several boot servers share",
		Long: `Bring an image, with its manifest and signature, into a store from which other
boot servers fetch it: 'image pull' does, and servers whose settings have an
origin do by themselves. Files that the store has already are not sent again.
Pushed by a tag, NAME@TAG, the tag moves in the store too.

` + originManual,
		Example: `  swarmboot image push lab@3 --to s3:https://s3.example.org/images
  swarmboot image push lab@stable --to s3:https://s3.example.org/images --credentials s3.keys`,
		Args: namedOperands,
		RunE: func(cmd *cobra.Command, args []string) error {
			if to.URL == "" {
				return usage(errors.New("push where? name the store with --to URL"))
			}
			if err := to.Validate(); err != nil {
				return usage(err)
			}
			_, image, err := find(folder, args[0])
			if err != nil {
				return err
			}
			store, err := origin.Open(to)
			if err != nil {
				return err
			}
			var tag images.Ref
			if image.Manifest.Ref().String() != args[0] {
				if tag, err = images.ParseRef(args[0]); err != nil {
					return err
				}
			}
			steps := newSteps(cmd.ErrOrStderr())
			err = store.Push(cmd.Context(), image, tag, func(done, total int64) { steps.progress("push to "+store.String(), done, total) })
			steps.end(err == nil)
			return err
		},
	}
	cmd.Flags().StringVar(&to.URL, "to", "", "`URL` of the store")
	credentialsFlag(cmd, &to)
	return cmd
}

func imagePullCommand(folder *state.Folder) *cobra.Command {
	var from origin.Config
	cmd := &cobra.Command{
		Use:   "pull NAME@VERSION --from URL",
		Short: "Fetch an image from a store that several boot servers share",
		Long: `Fetch an image from a store into the state folder. It keeps its name and its
signature, which a trusted key must have made ('swarmboot key trust'), and every
byte is compared with what was signed. A pull that is broken off goes on where it
was. Pulled by a tag, NAME@TAG, the tag stands for the image here too.

` + originManual,
		Example: `  swarmboot image pull lab@3 --from s3:https://s3.example.org/images
  swarmboot image pull lab@stable --from https://boot1.example.org/images`,
		Args: namedOperands,
		RunE: func(cmd *cobra.Command, args []string) error {
			if from.URL == "" {
				return usage(errors.New("pull from where? name the store with --from URL"))
			}
			ref, err := images.ParseRef(args[0])
			if err := errors.Join(err, from.Validate()); err != nil {
				return usage(err)
			}
			store, err := origin.Open(from)
			if err != nil {
				return err
			}
			c, err := folder.Catalogue()
			if err != nil {
				return err
			}
			steps := newSteps(cmd.ErrOrStderr())
			image, err := store.Pull(cmd.Context(), c, ref, func(done, total int64) { steps.progress("pull from "+store.String(), done, total) })
			steps.end(err == nil)
			if err != nil {
				return err
			}
			return printImages(cmd.OutOrStdout(), []*catalogue.Image{image}, nil)
		},
	}
	cmd.Flags().StringVar(&from.URL, "from", "", "`URL` of the store")
	credentialsFlag(cmd, &from)
	return cmd
}

func credentialsFlag(cmd *cobra.Command, c *origin.Config) {
	cmd.Flags().StringVar(&c.Credentials, "credentials", "", "`FILE` with the keys of an S3 bucket (default the environment's)")
}
