package access

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"time"
)

// Certificate reads a certificate and its key.
func Certificate(certificate, key string) (tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		return pair, fmt.Errorf("certificate of the admin pages: %w", err)
	}
	return pair, nil
}

// OwnCertificate reads the certificate in file, with its key, and makes it where
// there is none: signed by itself, so that browsers ask once whether it is the
// right one.
func OwnCertificate(file string, address netip.Addr, names []string) (tls.Certificate, error) {
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		return Certificate(file, file)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "Swarmboot"},
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().AddDate(10, 0, 0), // clocks differ
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames: append([]string{"localhost"}, names...),
	}
	if !address.IsUnspecified() {
		template.IPAddresses = append(template.IPAddresses, address.AsSlice())
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make a certificate for the admin pages: %w", err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return tls.Certificate{}, err
	}
	data := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})...)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return tls.Certificate{}, fmt.Errorf("keep the certificate of the admin pages: %w", err)
	}
	if err := os.WriteFile(file, data, 0o600); err != nil {
		return tls.Certificate{}, fmt.Errorf("keep the certificate of the admin pages: %w", err)
	}
	return Certificate(file, file)
}

// Fingerprint is what browsers show of a certificate.
func Fingerprint(c tls.Certificate) string {
	sum := sha256.Sum256(c.Certificate[0])
	return hex.EncodeToString(sum[:])
}
