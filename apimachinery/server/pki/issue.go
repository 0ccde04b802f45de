package pki

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
)

// Serving returns a certificate for the given DNS names and IP addresses: the folder's, or a new one if that is
// missing or damaged, was made for others or has less than 30 days left.
func (a *Authority) Serving(hosts ...string) (*tls.Certificate, error) {
	if len(hosts) == 0 {
		return nil, errors.New("issue serving certificate: give at least one name or address")
	}
	dns, ips, err := splitHosts(hosts)
	if err != nil {
		return nil, fmt.Errorf("issue serving certificate: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if c := a.loadServing(dns, ips); c != nil {
		return c, nil
	}
	c, err := a.makeServing(dns, ips)
	if err != nil {
		return nil, fmt.Errorf("issue serving certificate: %w", err)
	}
	return c, nil
}

func splitHosts(hosts []string) (dns []string, ips []net.IP, err error) {
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			if v4 := ip.To4(); v4 != nil {
				ip = v4
			}
			ips = append(ips, ip)
			continue
		}
		if h == "" || strings.ContainsAny(h, " /:\x00") {
			return nil, nil, fmt.Errorf("%q is neither a name nor an address", h)
		}
		dns = append(dns, h)
	}
	return dns, ips, nil
}

// loadServing returns nil if the folder's certificate won't do: it is easily made anew.
func (a *Authority) loadServing(dns []string, ips []net.IP) *tls.Certificate {
	if a.config.Dir == "" {
		return nil
	}
	cert, err := readCertificate(a.path("apiserver.crt"))
	if err != nil {
		return nil
	}
	key, err := readKey(a.path("apiserver.key"))
	if err != nil {
		return nil
	}
	same := slices.Equal(cert.DNSNames, dns) && slices.EqualFunc(cert.IPAddresses, ips, net.IP.Equal)
	fresh := cert.NotAfter.Sub(a.config.Now()) > renewBefore
	if !same || !fresh || cert.CheckSignatureFrom(a.cert) != nil || !key.PublicKey.Equal(cert.PublicKey) {
		return nil
	}
	return &tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}
}

func (a *Authority) makeServing(dns []string, ips []net.IP) (*tls.Certificate, error) {
	template, err := a.template(pkix.Name{CommonName: "kube-apiserver"}, leafLife)
	if err != nil {
		return nil, err
	}
	template.DNSNames, template.IPAddresses = dns, ips
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	der, key, err := a.sign(template)
	if err != nil {
		return nil, err
	}
	pem, err := encodeKey(key)
	if err != nil {
		return nil, err
	}
	if err := a.keepServing(pem, encodeCertificate(der)); err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}

// keepServing writes the pair without waiting for the disk.
func (a *Authority) keepServing(key, certificate []byte) error {
	if a.config.Dir == "" {
		return nil
	}
	if err := replace(a.path("apiserver.key"), key, 0o600, false); err != nil {
		return err
	}
	return replace(a.path("apiserver.crt"), certificate, 0o644, false)
}

// ServerTLS returns the configuration of an API server: HTTP/2, TLS 1.2 or later, a serving certificate for the
// hosts that renews itself while the server runs. Client certificates are asked for and not verified: that is
// the authenticator's part, as a bad one means 401, not a broken connection.
func (a *Authority) ServerTLS(hosts ...string) (*tls.Config, error) {
	current, err := a.Serving(hosts...)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	return &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"},
		ClientAuth: tls.RequestClientCert, ClientCAs: a.pool,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			mu.Lock()
			defer mu.Unlock()
			if current.Leaf.NotAfter.Sub(a.config.Now()) > renewBefore {
				return current, nil
			}
			renewed, err := a.Serving(hosts...)
			if err == nil {
				current = renewed
			}
			return current, nil // the old one as long as it lasts: better than none
		},
	}, nil
}

// Client issues a client certificate: user is its common name, groups its organizations. It lives for life; 0
// is a year. Both results are PEM.
func (a *Authority) Client(user string, groups []string, life time.Duration) (certificate, key []byte, err error) {
	if user == "" {
		return nil, nil, errors.New("issue client certificate: the user must have a name")
	}
	if life <= 0 {
		life = leafLife
	}
	template, err := a.template(pkix.Name{CommonName: user, Organization: groups}, life)
	if err != nil {
		return nil, nil, fmt.Errorf("issue client certificate: %w", err)
	}
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	der, k, err := a.sign(template)
	if err != nil {
		return nil, nil, fmt.Errorf("issue client certificate: %w", err)
	}
	key, err = encodeKey(k)
	return encodeCertificate(der), key, err
}
