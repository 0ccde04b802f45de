package pki

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"path/filepath"
	"sync"
	"time"
)

const (
	caLife   = 10 * 365 * 24 * time.Hour
	leafLife = 365 * 24 * time.Hour
	// renewBefore is what a serving certificate must have left, or it is made anew.
	renewBefore = 30 * 24 * time.Hour
	// backdate forgives clocks that are behind.
	backdate = time.Hour
)

// Config is what an [Authority] needs.
type Config struct {
	// Dir is the folder, made if missing. Empty: everything stays in memory.
	Dir string
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

func (c *Config) validate() error {
	if c.Now == nil {
		c.Now = time.Now
	}
	return nil
}

// Authority signs certificates. It is safe for concurrent use, by one process per folder.
type Authority struct {
	config Config
	key    *ecdsa.PrivateKey
	cert   *x509.Certificate
	signer *ecdsa.PrivateKey
	pool   *x509.CertPool
	mu     sync.Mutex // the serving certificate's files
	// wrote says that the folder has new files that a power cut must not take.
	wrote bool
}

// Open loads the authority of a folder, or makes it. A damaged or expired file of the authority or of the token
// key, and a certificate without its key, are errors that name the file; nothing is replaced unasked.
func Open(c Config) (*Authority, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	a := &Authority{config: c, pool: x509.NewCertPool()}
	if err := a.load(); err != nil {
		return nil, fmt.Errorf("open certificate authority: %w", err)
	}
	a.pool.AddCert(a.cert)
	return a, nil
}

func (a *Authority) load() (err error) {
	cert, err := a.readCA()
	if err != nil {
		return err
	}
	made := false
	if a.key, made, err = a.loadKey("ca.key", cert == nil); err != nil {
		return err
	}
	switch {
	case cert == nil:
		cert, err = a.makeCA()
	case made:
		err = errors.New("ca.key was made beside an older ca.crt") // loadKey forbids it
	case !a.key.PublicKey.Equal(cert.PublicKey):
		err = fmt.Errorf("%s and ca.key don't belong together: restore them from one copy", a.path("ca.crt"))
	}
	if err != nil {
		return err
	}
	a.cert = cert
	if a.signer, _, err = a.loadKey("sa.key", true); err == nil && a.wrote {
		err = syncDir(a.config.Dir)
	}
	return err
}

func (a *Authority) path(name string) string { return filepath.Join(a.config.Dir, name) }

// readCA returns nil if there is none yet.
func (a *Authority) readCA() (*x509.Certificate, error) {
	if a.config.Dir == "" {
		return nil, nil
	}
	cert, err := readCertificate(a.path("ca.crt"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	case !cert.IsCA:
		return nil, damaged(a.path("ca.crt"), errors.New("it is no authority's"))
	case a.config.Now().After(cert.NotAfter):
		return nil, fmt.Errorf("%s has expired at %v: delete it to have a new one made with the same key, and hand out kubeconfigs again", a.path("ca.crt"), cert.NotAfter)
	}
	return cert, nil
}

// loadKey reads a key, or makes it if that is allowed.
func (a *Authority) loadKey(name string, mayMake bool) (key *ecdsa.PrivateKey, made bool, err error) {
	if a.config.Dir != "" {
		key, err = readKey(a.path(name))
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return key, false, err
		}
	}
	if !mayMake {
		return nil, false, fmt.Errorf("%s is missing beside its certificate: restore it, or delete the certificate too to have both made anew", a.path(name))
	}
	if key, err = newKey(); err != nil {
		return nil, false, err
	}
	pem, err := encodeKey(key)
	if err != nil {
		return nil, false, err
	}
	return key, true, a.write(name, pem, 0o600)
}

func (a *Authority) write(name string, data []byte, mode fs.FileMode) error {
	if a.config.Dir == "" {
		return nil
	}
	a.wrote = true
	return replace(a.path(name), data, mode, true)
}

func (a *Authority) makeCA() (*x509.Certificate, error) {
	template, err := a.template(pkix.Name{CommonName: "bedplate-ca"}, caLife)
	if err != nil {
		return nil, err
	}
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		return nil, err
	}
	if err := a.write("ca.crt", encodeCertificate(der), 0o644); err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func (a *Authority) template(subject pkix.Name, life time.Duration) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	now := a.config.Now()
	return &x509.Certificate{SerialNumber: serial.Add(serial, big.NewInt(1)), Subject: subject, NotBefore: now.Add(-backdate), NotAfter: now.Add(life)}, nil
}

// sign issues a leaf with a key of its own, that ends no later than the authority does.
func (a *Authority) sign(template *x509.Certificate) (der []byte, key *ecdsa.PrivateKey, err error) {
	if template.NotAfter.After(a.cert.NotAfter) {
		template.NotAfter = a.cert.NotAfter
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	if key, err = newKey(); err != nil {
		return nil, nil, err
	}
	der, err = x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	return der, key, err
}

// CertificatePEM is the authority's own certificate, as clients need it (kube-root-ca.crt).
func (a *Authority) CertificatePEM() []byte { return encodeCertificate(a.cert.Raw) }

// Pool holds the authority's certificate alone. Don't change it.
func (a *Authority) Pool() *x509.CertPool { return a.pool }

// SigningKey signs service-account tokens (ES256). It outlives restarts if the authority has a folder.
func (a *Authority) SigningKey() *ecdsa.PrivateKey { return a.signer }
