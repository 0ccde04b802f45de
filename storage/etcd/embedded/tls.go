package embedded

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"go.etcd.io/etcd/client/pkg/v3/transport"
)

// wantRole accepts the other side of a connection if its certificate, verified already, has one of the roles.
func wantRole(s tls.ConnectionState, roles ...role) error {
	if len(s.PeerCertificates) == 0 {
		return errors.New("the other side has no certificate")
	}
	if got := roleOf(s.PeerCertificates[0]); !slices.Contains(roles, got) {
		return fmt.Errorf("a certificate of role %q won't do here", got)
	}
	return nil
}

// serverTLS accepts certificates of the CA with one of the roles alone. Its own certificate is read anew for each
// connection.
func (a *authority) serverTLS(protocols []string, roles ...role) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: protocols, SessionTicketsDisabled: true,
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: a.pool(),
		GetCertificate:   func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return a.load(memberFile) },
		VerifyConnection: func(s tls.ConnectionState) error { return wantRole(s, roles...) },
	}
}

// clientTLS speaks to members with the certificate in a file, read anew for each connection.
func (a *authority) clientTLS(file string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: a.pool(),
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return a.load(file) },
		VerifyConnection:     func(s tls.ConnectionState) error { return wantRole(s, roleMember) },
	}
}

// load reads a certificate with its key, at one moment.
func (a *authority) load(file string) (*tls.Certificate, error) {
	text, err := os.ReadFile(filepath.Join(a.dir, file))
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(text, text)
	if err != nil {
		return nil, err
	}
	return &pair, nil
}

// peerTLS is how etcd itself speaks to other members; it reads the files for each connection, too.
func (a *authority) peerTLS() transport.TLSInfo {
	path := filepath.Join(a.dir, memberFile)
	return transport.TLSInfo{
		CertFile: path, KeyFile: path, TrustedCAFile: filepath.Join(a.dir, caCertFile), ClientCertAuth: true,
		MinVersion: tls.VersionTLS13,
	}
}

// ClientTLS is how a client speaks to this member's ClientListen "https://…", or to that of any member of its
// cluster: for clientv3.Config.TLS, and there is no need to make a new one when certificates are renewed. The
// certificate lets its holder read and write everything. An error before Ready, and without such a listener or
// Cluster.
//
// The files are there for other programs, too: in Dir/tls, ca.crt, and client.pem for both certificate and key
// (etcdctl --cacert ca.crt --cert client.pem --key client.pem). They are renewed in time, so programs elsewhere need
// them again now and then.
func (s *Server) ClientTLS() (*tls.Config, error) {
	select {
	case <-s.ready:
	default:
		return nil, errors.New("client certificate of embedded etcd: the member is not ready")
	}
	if s.ca == nil {
		return nil, errors.New("client certificate of embedded etcd: it has no listener with TLS")
	}
	return s.ca.clientTLS(clientFile), nil
}

// FolderTLS is Server.ClientTLS for another process that may read the files in the data folder of a member.
func FolderTLS(dir string) (*tls.Config, error) {
	dir = filepath.Join(dir, tlsFolder)
	text, err := os.ReadFile(filepath.Join(dir, caCertFile))
	if err != nil {
		return nil, fmt.Errorf("client certificate of embedded etcd: %w", err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("client certificate of embedded etcd: %s holds no certificate", caCertFile)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("client certificate of embedded etcd: %w", err)
	}
	a := &authority{dir: dir, cert: cert}
	if _, err := a.load(clientFile); err != nil {
		return nil, fmt.Errorf("client certificate of embedded etcd: %w", err)
	}
	return a.clientTLS(clientFile), nil
}

// invitationOf returns the invitation's certificate with which a connection came, or nil.
func invitationOf(s *tls.ConnectionState) *x509.Certificate {
	if s == nil || wantRole(*s, roleInvitation) != nil {
		return nil
	}
	return s.PeerCertificates[0]
}
