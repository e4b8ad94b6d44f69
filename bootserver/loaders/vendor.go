package loaders

import (
	"bytes"
	"crypto/x509"
	"debug/pe"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/foxboron/go-uefi/authenticode"
)

// ErrUnsigned says that a kernel would be refused under Secure Boot.
var ErrUnsigned = errors.New("is not signed for Secure Boot")

// A Vendor is the authority whose kernels a shim starts.
type Vendor struct{ certificate *x509.Certificate }

// String is the authority's name.
func (v Vendor) String() string { return v.certificate.Subject.CommonName }

// VendorOf reads the certificate that is built into the shim for an
// architecture, in the folder of loaders.
func VendorOf(dir, arch string) (Vendor, error) {
	name, ok := map[string]string{"amd64": shimX64, "arm64": shimARM64}[arch]
	if !ok {
		return Vendor{}, fmt.Errorf("there is no shim for %s", arch)
	}
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return Vendor{}, fmt.Errorf("vendor of shim: %w", err)
	}
	v, err := vendor(data)
	if err != nil {
		return Vendor{}, fmt.Errorf("vendor of %s: %w", name, err)
	}
	return v, nil
}

// vendor reads the section .vendor_cert: four little-endian numbers (sizes and
// offsets of what is allowed and of what is denied), then a certificate.
func vendor(shim []byte) (Vendor, error) {
	file, err := pe.NewFile(bytes.NewReader(shim))
	if err != nil {
		return Vendor{}, err
	}
	section := file.Section(".vendor_cert")
	if section == nil {
		return Vendor{}, errors.New("it is no shim: it has no section .vendor_cert")
	}
	data, err := section.Data()
	if err != nil {
		return Vendor{}, err
	}
	if len(data) < 16 {
		return Vendor{}, errors.New("its section .vendor_cert is cut off")
	}
	size, offset := uint64(binary.LittleEndian.Uint32(data)), uint64(binary.LittleEndian.Uint32(data[8:]))
	if offset+size > uint64(len(data)) {
		return Vendor{}, errors.New("its section .vendor_cert is cut off")
	}
	certificate, err := x509.ParseCertificate(data[offset : offset+size])
	if err != nil {
		return Vendor{}, err
	}
	return Vendor{certificate}, nil
}

// Signed verifies that a kernel carries a signature by the vendor over all of
// it. Else the error is ErrUnsigned and tells who has signed instead. As shim
// does, it takes no notice of dates.
func (v Vendor) Signed(kernel io.ReaderAt) (err error) {
	defer func() { // the library reads foreign bytes, and not every length in them is checked
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: it cannot be parsed: %v", ErrUnsigned, p)
		}
	}()
	binary, err := authenticode.Parse(kernel)
	if err != nil {
		return fmt.Errorf("%w: it is no EFI program: %w", ErrUnsigned, err)
	}
	signatures, err := binary.Signatures()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnsigned, err)
	}
	found := "it has no signature"
	for _, s := range signatures {
		signature, err := authenticode.ParseAuthenticode(s.Certificate)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrUnsigned, err)
		}
		for _, signer := range signature.Pkcs.Certs {
			if signer.CheckSignatureFrom(v.certificate) != nil && !signer.Equal(v.certificate) {
				found = fmt.Sprintf("it is signed by %s, and shim's vendor is %s", signer.Issuer.CommonName, v)
				continue
			}
			ok, err := binary.Verify(signer)
			if err == nil && ok {
				return nil
			}
			found = fmt.Sprintf("its signature by %s does not fit its contents", v)
		}
	}
	return fmt.Errorf("%w: %s", ErrUnsigned, found)
}
