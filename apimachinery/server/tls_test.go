package server_test

import (
	"crypto/tls"
	"net/http"

	"github.com/bedplate/bedplate/apimachinery/server/pki"
)

// tlsFor trusts an authority; without one it is a configuration that can't serve.
func tlsFor(ca *pki.Authority) *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != nil {
		c.RootCAs = ca.Pool()
	}
	return c
}

func plainHTTP() *http.Client { return &http.Client{Transport: &http.Transport{}} }
