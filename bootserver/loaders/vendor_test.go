package loaders

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"debug/pe"
	"encoding/binary"
	"errors"
	"math/big"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/foxboron/go-uefi/authenticode"
)

// program is the smallest EFI program with one section.
func program(t testing.TB, section string, data []byte) []byte {
	t.Helper()
	const headers = 512
	size := uint32(len(data)+511) / 512 * 512
	name := [8]uint8{}
	long := ""
	if copy(name[:], section); len(section) > 8 { // is in the string table behind the sections
		copy(name[:], "/4\x00\x00\x00\x00\x00\x00")
		long = section + "\x00"
	}
	var b bytes.Buffer
	put := func(v any) {
		if err := binary.Write(&b, binary.LittleEndian, v); err != nil {
			t.Fatal(err)
		}
	}
	dos := make([]byte, 64)
	copy(dos, "MZ")
	dos[0x3c] = 64
	put(dos)
	put([]byte("PE\x00\x00"))
	put(pe.FileHeader{Machine: pe.IMAGE_FILE_MACHINE_AMD64, NumberOfSections: 1, SizeOfOptionalHeader: 240, Characteristics: 2, PointerToSymbolTable: headers + size})
	put(pe.OptionalHeader64{Magic: 0x20b, SectionAlignment: 512, FileAlignment: 512, SizeOfImage: headers + size, SizeOfHeaders: headers, Subsystem: 10, NumberOfRvaAndSizes: 16})
	put(pe.SectionHeader32{Name: name, VirtualSize: size, VirtualAddress: headers, SizeOfRawData: size, PointerToRawData: headers})
	put(make([]byte, headers-b.Len()))
	put(data)
	put(make([]byte, int(size)-len(data)))
	put(uint32(4 + len(long)))
	put([]byte(long))
	put(make([]byte, -b.Len()&7))
	return b.Bytes()
}

// An authority signs for Secure Boot.
type authority struct {
	key         *rsa.PrivateKey
	certificate *x509.Certificate
}

func newAuthority(t testing.TB, name string, by *authority) authority {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(-time.Minute), // no matter to shim
		IsCA: by == nil, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	parent, signer := template, key
	if by != nil {
		parent, signer = by.certificate, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority{key, certificate}
}

func (a authority) sign(t testing.TB, program []byte) []byte {
	t.Helper()
	p, err := authenticode.Parse(bytes.NewReader(program))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Sign(a.key, a.certificate); err != nil {
		t.Fatal(err)
	}
	return p.Bytes()
}

// shim is one with the authority's certificate built in.
func (a authority) shim(t testing.TB) []byte {
	t.Helper()
	table := binary.LittleEndian.AppendUint32(nil, uint32(len(a.certificate.Raw)))
	table = binary.LittleEndian.AppendUint32(table, 0)
	table = binary.LittleEndian.AppendUint32(table, 16)
	table = binary.LittleEndian.AppendUint32(table, 0)
	return program(t, ".vendor_cert", append(table, a.certificate.Raw...))
}

func TestKernelsAreOfTheShimsVendor(t *testing.T) {
	debian, other := newAuthority(t, "Debian Secure Boot CA", nil), newAuthority(t, "Another CA", nil)
	signer := newAuthority(t, "Debian Secure Boot Signer", &debian)
	dir := t.TempDir()
	write(t, dir, shimX64, string(debian.shim(t)))
	v, err := VendorOf(dir, "amd64")
	if err != nil || v.String() != "Debian Secure Boot CA" {
		t.Fatalf("VendorOf = %v, %v", v, err)
	}

	kernel := program(t, ".text", []byte("a kernel"))
	signed := signer.sign(t, kernel)
	changed := bytes.Replace(signed, []byte("a kernel"), []byte("a kernal"), 1)
	for _, c := range []struct {
		story  string
		kernel []byte
		reason string // empty: it is signed
	}{
		{"signed by the vendor's signer", signed, ""},
		{"signed by the vendor itself", debian.sign(t, kernel), ""},
		{"signed by two", signer.sign(t, other.sign(t, kernel)), ""},
		{"signed by another", other.sign(t, kernel), "signed by Another CA"},
		{"not signed", kernel, "no signature"},
		{"changed after it was signed", changed, "does not fit"},
		{"no EFI program", []byte("kernel"), "no EFI program"},
	} {
		err := v.Signed(bytes.NewReader(c.kernel))
		switch {
		case c.reason == "" && err != nil:
			t.Errorf("%s: %v", c.story, err)
		case c.reason != "" && (!errors.Is(err, ErrUnsigned) || !strings.Contains(err.Error(), c.reason)):
			t.Errorf("%s: %v; want ErrUnsigned and %q", c.story, err, c.reason)
		}
	}
	if _, err := VendorOf(dir, "riscv64"); err == nil {
		t.Error("a vendor for riscv64")
	}
	if _, err := VendorOf(t.TempDir(), "amd64"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("vendor without a shim: %v", err)
	}
}

func FuzzSigned(f *testing.F) {
	ca := newAuthority(f, "CA", nil)
	kernel := program(f, ".text", []byte("a kernel"))
	for _, seed := range [][]byte{kernel, ca.sign(f, kernel), ca.shim(f), []byte("MZ")} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if v, err := vendor(data); err == nil {
			_ = v.String()
		}
		// None of these bytes can be a signature by this authority, but the seeds'.
		if err := (Vendor{ca.certificate}).Signed(bytes.NewReader(data)); err != nil && !errors.Is(err, ErrUnsigned) {
			t.Error(err)
		}
	})
}
