package server_test

import (
	"crypto/tls"

	"github.com/bedplate/bedplate/apimachinery/server/pki"
)

func tlsFor(ca *pki.Authority) *tls.Config {
	return &tls.Config{RootCAs: ca.Pool(), MinVersion: tls.VersionTLS12}
}
