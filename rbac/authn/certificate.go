package authn

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
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
	return certificates{pool, now}
}

type certificates struct {
	pool *x509.CertPool
	now  func() time.Time
}

func (c certificates) Authenticate(r *http.Request) (apimachinery.User, bool, error) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return apimachinery.User{}, false, nil
	}
	leaf := r.TLS.PeerCertificates[0]
	options := x509.VerifyOptions{
		Roots: c.pool, CurrentTime: c.now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		Intermediates: x509.NewCertPool(),
	}
	for _, i := range r.TLS.PeerCertificates[1:] {
		options.Intermediates.AddCert(i)
	}
	if _, err := leaf.Verify(options); err != nil {
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

// credentialID is the extra field that tells one credential of a user from another.
const credentialID = "authentication.kubernetes.io/credential-id"
