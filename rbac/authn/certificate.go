package authn

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/bedplate/bedplate/apimachinery"
)

// Certificates returns the authenticator of TLS client certificates that an authority of pool has signed for
// clients: the common name is the user, the organizations are the groups. A certificate that doesn't verify is an
// error, none is nobody. now is the clock; nil is time.Now.
func Certificates(pool *x509.CertPool, now func() time.Time) apimachinery.Authenticator {
	if now == nil {
		now = time.Now
	}
	return &certificates{pool: pool, now: now, known: map[fingerprint]time.Time{}}
}

// maxKnown bounds what is remembered of certificates: with more than that many in use, some are verified again.
const maxKnown = 4_096

type certificates struct {
	pool *x509.CertPool
	now  func() time.Time

	mu    sync.Mutex
	known map[fingerprint]time.Time // what verified, and until when that holds
}

// fingerprint is of all certificates that a client presents.
type fingerprint [sha256.Size]byte

func (c *certificates) Authenticate(r *http.Request) (apimachinery.User, bool, error) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return apimachinery.User{}, false, nil
	}
	leaf := r.TLS.PeerCertificates[0]
	if err := c.verify(r.TLS.PeerCertificates); err != nil {
		return apimachinery.User{}, false, fmt.Errorf("verify client certificate of %q: %w", leaf.Subject.CommonName, err)
	}
	if leaf.Subject.CommonName == "" {
		return apimachinery.User{}, false, errors.New("verify client certificate: its subject has no common name")
	}
	sum := sha256.Sum256(leaf.Raw)
	return apimachinery.User{
		Name: leaf.Subject.CommonName, Groups: slices.Clone(leaf.Subject.Organization),
		Extra: map[string][]string{credentialID: {"X509SHA256=" + hex.EncodeToString(sum[:])}},
	}, true, nil
}

// verify checks the signatures of a chain once, and not with each request of a connection: that is most of what a
// small request would cost.
func (c *certificates) verify(presented []*x509.Certificate) error {
	id, now := fingerprintOf(presented), c.now()
	c.mu.Lock()
	until, ok := c.known[id]
	c.mu.Unlock()
	if ok && now.Before(until) {
		return nil
	}
	options := x509.VerifyOptions{
		Roots: c.pool, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		Intermediates: x509.NewCertPool(),
	}
	for _, i := range presented[1:] {
		options.Intermediates.AddCert(i)
	}
	chains, err := presented[0].Verify(options)
	if err != nil {
		return err
	}
	c.remember(id, soonestEnd(chains[0]))
	return nil
}

func (c *certificates) remember(id fingerprint, until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.known) >= maxKnown {
		clear(c.known)
	}
	c.known[id] = until
}

func soonestEnd(chain []*x509.Certificate) time.Time {
	end := chain[0].NotAfter
	for _, c := range chain[1:] {
		if c.NotAfter.Before(end) {
			end = c.NotAfter
		}
	}
	return end
}

func fingerprintOf(presented []*x509.Certificate) (id fingerprint) {
	h := sha256.New()
	for _, c := range presented {
		h.Write(c.Raw)
	}
	h.Sum(id[:0])
	return id
}

// credentialID is the extra field that tells one credential of a user from another.
const credentialID = "authentication.kubernetes.io/credential-id"
