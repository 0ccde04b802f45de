// Package clienttest proves clients: [Run] is the suite that every way of talking to an API passes, and [Start]
// runs a whole API server in a test, in memory, with a client in process and one over HTTPS.
package clienttest

import (
	"context"
	"crypto/x509"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/apimachinery/server"
	"github.com/bedplate/bedplate/apimachinery/server/pki"
	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/memory"
)

// TB is what of a testing.TB is needed.
type TB interface {
	require.TestingT
	Helper()
	Cleanup(func())
	Context() context.Context
}

// Env is a running API server and its clients, all as a member of system:masters.
type Env struct {
	Server *server.Server
	// Client works in process.
	Client *client.Client
	// URL is the server's address, and Kubeconfig leads there; CA, Cert and Key are what is in it, in PEM. Empty
	// without Config.HTTPS.
	URL                       string
	Kubeconfig, CA, Cert, Key []byte

	stop func()
}

// Config configures [Start]. The zero value serves nothing, in process.
type Config struct {
	Resources []apimachinery.Resource
	// HTTPS also listens on a port of the loopback device.
	HTTPS bool
	// Admission and Authorizer are the server's.
	Admission  []apimachinery.Plugin
	Authorizer apimachinery.Authorizer
	Log        *slog.Logger
}

// admin returns the user of all clients.
func admin() apimachinery.User {
	return apimachinery.User{Name: "admin", Groups: []string{"system:masters", "system:authenticated"}}
}

// Start runs a server until the test ends.
func Start(t TB, c Config) *Env {
	t.Helper()
	registry, err := apimachinery.NewRegistry(c.Resources...)
	require.NoError(t, err)
	backend, err := memory.New(memory.Config{})
	require.NoError(t, err)
	db, err := storage.New(backend, storage.Config{Log: c.Log})
	require.NoError(t, err)
	sc := server.Config{
		Registry: registry, DB: db, Admission: c.Admission, Authorizer: c.Authorizer, Log: c.Log,
		Limits: server.Limits{Reads: 10_000, Writes: 10_000},
	}
	var ca *pki.Authority
	if c.HTTPS {
		ca, err = pki.Open(pki.Config{})
		require.NoError(t, err)
		sc.TLS, err = ca.ServerTLS("127.0.0.1")
		require.NoError(t, err)
		sc.Authenticator = certificates{ca.Pool()}
	}
	s, err := server.New(sc)
	require.NoError(t, err)
	e := &Env{Server: s, Client: client.New(s.As(admin()), registry)}
	e.run(t, db, c.HTTPS)
	if c.HTTPS {
		e.URL = "https://" + s.Addr().String()
		e.Kubeconfig, err = ca.Kubeconfig(e.URL, admin().Name, admin().Groups...)
		require.NoError(t, err)
		e.CA = ca.CertificatePEM()
		e.Cert, e.Key, err = ca.Client(admin().Name, admin().Groups, time.Hour)
		require.NoError(t, err)
	}
	return e
}

func (e *Env) run(t TB, db *storage.DB, listen bool) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { require.NoError(t, db.Run(ctx)) })
	<-db.Ready()
	if listen {
		wg.Go(func() { require.NoError(t, e.Server.Run(ctx)) })
		<-e.Server.Ready()
	}
	e.stop = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
	})
	t.Cleanup(e.stop)
}

// Stop stops the server before the test ends.
func (e *Env) Stop() { e.stop() }

// certificates authenticates by client certificate.
type certificates struct{ roots *x509.CertPool }

// Authenticate implements apimachinery.Authenticator.
func (c certificates) Authenticate(r *http.Request) (u apimachinery.User, ok bool, err error) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return u, false, nil
	}
	leaf := r.TLS.PeerCertificates[0]
	_, err = leaf.Verify(x509.VerifyOptions{Roots: c.roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err != nil {
		return u, false, err
	}
	return apimachinery.User{Name: leaf.Subject.CommonName, Groups: leaf.Subject.Organization}, true, nil
}
