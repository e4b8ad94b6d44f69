package bootserver

import (
	"errors"
	"fmt"

	"swarmboot/bootserver/loaders"
	"swarmboot/images"
	"swarmboot/images/catalogue"
)

// CheckKernels refuses a config by which a machine under the loader policy
// secure-boot boots an image whose kernel the shim does not start: better told
// when an image is assigned than by a machine that stops. It names each such
// image once. What find does not find (catalogue.ErrNotFound) is another check's.
func CheckKernels(c Config, find func(images.Ref) (*catalogue.Image, error)) error {
	var errs []error
	for _, ref := range c.imagesOf(func(b Boot) bool { return b.Loader == loaders.SecureBoot }) {
		if err := checkKernel(c.Loaders, ref, find); err != nil && !errors.Is(err, catalogue.ErrNotFound) {
			errs = append(errs, fmt.Errorf("image %s with loader: %s: %w; choose an image with a kernel of that vendor, or another loader",
				ref, loaders.SecureBoot, err))
		}
	}
	return errors.Join(errs...)
}

func checkKernel(dir string, ref images.Ref, find func(images.Ref) (*catalogue.Image, error)) error {
	image, err := find(ref)
	if err != nil {
		return err
	}
	vendor, err := loaders.VendorOf(dir, image.Manifest.Arch)
	if err != nil {
		return err
	}
	kernel, err := image.Open(catalogue.Kernel)
	if err != nil {
		return err
	}
	defer kernel.Close()
	if err := vendor.Signed(kernel); err != nil {
		return fmt.Errorf("its kernel %w", err)
	}
	return nil
}
