package pki

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
)

// Other issues a serving certificate for another server of the cluster, a node say, with name as its common name.
// It lives for a year and is kept nowhere.
func (a *Authority) Other(name string, hosts ...string) (*tls.Certificate, error) {
	dns, ips, err := splitHosts(hosts)
	if err != nil {
		return nil, fmt.Errorf("issue serving certificate of %s: %w", name, err)
	}
	template, err := a.template(pkix.Name{CommonName: name}, leafLife)
	if err != nil {
		return nil, fmt.Errorf("issue serving certificate of %s: %w", name, err)
	}
	template.DNSNames, template.IPAddresses = dns, ips
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	der, key, err := a.sign(template)
	if err != nil {
		return nil, fmt.Errorf("issue serving certificate of %s: %w", name, err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("issue serving certificate of %s: %w", name, err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}

// ClientTLS is how a part of the control plane speaks to servers of the cluster: with a client certificate of a
// year for user, trusting this authority alone.
func (a *Authority) ClientTLS(user string, groups ...string) (*tls.Config, error) {
	certificate, key, err := a.Client(user, groups, 0)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return nil, fmt.Errorf("issue client certificate of %s: %w", user, err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: a.pool, Certificates: []tls.Certificate{pair}}, nil
}
