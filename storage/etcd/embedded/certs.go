package embedded

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// role is what a certificate of the cluster's CA is good for; it stands in the subject's organizational unit.
type role string

const (
	roleMember     role = "member"     // everything
	roleClient     role = "client"     // the client listener
	roleInvitation role = "invitation" // joining, once
)

const (
	certOrganization = "bedplate"
	caLife           = 50 * 365 * 24 * time.Hour // there is no way to replace the CA of a cluster
	clockSkew        = time.Hour                 // how far other members' clocks may be behind
)

// The files of Dir/tls. A certificate and its key are one file, so that no crash and no handshake can find one
// without the other.
const (
	caCertFile = "ca.crt"
	caKeyFile  = "ca.key"
	memberFile = "member.pem"
	clientFile = "client.pem"
)

// authority is the CA of a cluster. Every member has it whole.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	now  func() time.Time
}

// loadAuthority reads the CA of a folder; an error that is os.ErrNotExist says that there is none.
func loadAuthority(dir string) (*authority, error) {
	certPEM, err := os.ReadFile(filepath.Join(dir, caCertFile))
	if err != nil {
		return nil, fmt.Errorf("read certificate authority: %w", err)
	}
	keyPEM, err := os.ReadFile(filepath.Join(dir, caKeyFile))
	if err != nil {
		return nil, fmt.Errorf("read certificate authority: %w", err)
	}
	a, err := parseAuthority(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("certificate authority in %s: %w", dir, err)
	}
	a.dir = dir
	return a, nil
}

func parseAuthority(certPEM, keyPEM []byte) (*authority, error) {
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, err
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok || !pair.Leaf.IsCA {
		return nil, errors.New("not the key and certificate of a certificate authority")
	}
	return &authority{cert: pair.Leaf, key: key, now: time.Now}, nil
}

// newAuthority makes a CA and stores it, the key first: a certificate without its key is never found.
func newAuthority(dir string) (*authority, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	t := template(certOrganization, "", now.Add(-clockSkew), now.Add(caLife))
	t.IsCA, t.MaxPathLenZero = true, true
	t.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	t.Subject.CommonName = "bedplate store " + t.SerialNumber.Text(16)[:8]
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make certificate authority: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("make certificate authority: %w", err)
	}
	a := &authority{dir: dir, cert: cert, key: key, now: time.Now}
	return a, a.store()
}

func (a *authority) store() error {
	keyPEM, err := keyToPEM(a.key)
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(a.dir, caKeyFile), keyPEM); err != nil {
		return err
	}
	return writeFile(filepath.Join(a.dir, caCertFile), certToPEM(a.cert.Raw))
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// identity is whom a certificate is for.
type identity struct {
	role   role
	name   string
	serial string   // of the subject; the number of an invitation
	hosts  []string // names and addresses where it serves
}

// issue makes a certificate, as DER.
func (a *authority) issue(id identity, pub crypto.PublicKey, life time.Duration) ([]byte, error) {
	now := a.now()
	t := template(certOrganization, string(id.role), now.Add(-clockSkew), now.Add(life))
	t.Subject.CommonName, t.Subject.SerialNumber = id.name, id.serial
	t.KeyUsage = x509.KeyUsageDigitalSignature
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if id.role == roleMember {
		t.ExtKeyUsage = append(t.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	for _, h := range id.hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, a.cert, pub, a.key)
	if err != nil {
		return nil, fmt.Errorf("issue certificate for %s %s: %w", id.role, id.name, err)
	}
	return der, nil
}

// pair makes a certificate, and its key unless there is one, as one PEM text.
func (a *authority) pair(id identity, key *ecdsa.PrivateKey, life time.Duration) (_ []byte, err error) {
	if key == nil {
		if key, err = newKey(); err != nil {
			return nil, err
		}
	}
	der, err := a.issue(id, key.Public(), life)
	if err != nil {
		return nil, err
	}
	keyPEM, err := keyToPEM(key)
	if err != nil {
		return nil, err
	}
	return append(certToPEM(der), keyPEM...), nil
}

// renew sees that a file holds a certificate of this CA for id of whose life more than a third is left, and
// returns when to look again. The key stays: etcd reads the file twice, for the certificate and for the key.
func (a *authority) renew(file string, id identity, life time.Duration) (next time.Time, err error) {
	pair, end := a.present(file, id)
	if end.Sub(a.now()) > life/3 {
		return end.Add(-life / 3), nil
	}
	var key *ecdsa.PrivateKey
	if pair != nil {
		key, _ = pair.PrivateKey.(*ecdsa.PrivateKey)
	}
	text, err := a.pair(id, key, life)
	if err != nil {
		return time.Time{}, err
	}
	return a.now().Add(life - life/3), writeFile(filepath.Join(a.dir, file), text)
}

// present returns what a file holds, nil if that is no certificate with its key, and the end of its life; zero if it
// won't do for id.
func (a *authority) present(file string, id identity) (*tls.Certificate, time.Time) {
	pair, err := a.load(file)
	if err != nil {
		return nil, time.Time{}
	}
	hosts := slices.Clone(pair.Leaf.DNSNames)
	for _, ip := range pair.Leaf.IPAddresses {
		hosts = append(hosts, ip.String())
	}
	want := slices.Clone(id.hosts)
	slices.Sort(hosts)
	slices.Sort(want)
	if !slices.Equal(hosts, want) || pair.Leaf.Subject.CommonName != id.name || roleOf(pair.Leaf) != id.role ||
		pair.Leaf.CheckSignatureFrom(a.cert) != nil {
		return pair, time.Time{}
	}
	return pair, pair.Leaf.NotAfter
}

func roleOf(c *x509.Certificate) role {
	if len(c.Subject.OrganizationalUnit) != 1 {
		return ""
	}
	return role(c.Subject.OrganizationalUnit[0])
}

func template(org, unit string, from, to time.Time) *x509.Certificate {
	serial := make([]byte, 16)
	// It never fails: the program ends instead.
	_, _ = rand.Read(serial)
	serial[0] = serial[0]&0x7f | 0x40 // positive, and of one length
	t := &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(serial), NotBefore: from, NotAfter: to, BasicConstraintsValid: true,
		Subject: pkix.Name{Organization: []string{org}},
	}
	if unit != "" {
		t.Subject.OrganizationalUnit = []string{unit}
	}
	return t
}

func newKey() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	return key, nil
}

func keyToPEM(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func certToPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// writeFile puts a file in the place of another, whole or not at all, for the owner's eyes only.
func writeFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // with mode 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, errors.Join(err, os.Remove(f.Name())))
	}
	syncDir(filepath.Dir(path))
	return nil
}

// syncDir makes a rename last over a power cut, where the system can; the file's content is safe without.
func syncDir(dir string) {
	if d, err := os.Open(dir); err == nil {
		_ = d.Sync()
		_ = d.Close()
	}
}
