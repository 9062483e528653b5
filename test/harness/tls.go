package harness

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// EnableTLS gives the server a certificate and has it take TLS connections beside
// plain ones. What it gives is that certificate.
func (s *Server) EnableTLS(t testing.TB) tls.Certificate {
	t.Helper()
	certificate, key := selfSigned(t)
	uid, gid := account(t)
	for name, data := range map[string][]byte{"server.crt": certificate, "server.key": key} {
		path := filepath.Join(s.Data, name)
		if err := errors.Join(os.WriteFile(path, data, 0o600), os.Chown(path, uid, gid)); err != nil {
			t.Fatal(err)
		}
	}
	s.Set(t, Settings{"ssl": "on", "ssl_cert_file": "server.crt", "ssl_key_file": "server.key"})
	Until(t, patience, "TLS being on", func() error {
		rows, err := TryRows[struct{ On string }](s, "SHOW ssl")
		if err == nil && rows[0].On != "on" {
			err = errors.New("it is off")
		}
		return err
	})
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// selfSigned makes a certificate for an hour, and its key, both as PEM.
func selfSigned(t testing.TB) (certificate, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	about := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"server"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, about, about, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
}
