package apitest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"k8s.io/client-go/rest"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/apimachinery/server"
	"github.com/bedplate/bedplate/apimachinery/server/crd"
	"github.com/bedplate/bedplate/apimachinery/server/pki"
	"github.com/bedplate/bedplate/rbac"
	"github.com/bedplate/bedplate/storage"
)

// TB is what [Start] needs of a *testing.T, *testing.B or the like.
type TB interface {
	Helper()
	Cleanup(func())
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
}

// API is an API server that runs. Its methods may be called concurrently.
type API struct {
	c        Config
	registry *apimachinery.Registry
	ca       *pki.Authority
	db       *storage.DB
	index    *rbac.Index
	roles    *roles // nil without RBAC
	server   *server.Server
	custom   *crd.Controller
	admin    *User
	parts    parts

	serveOnce sync.Once
	serving   Serving // where webhooks are
	serveErr  error
}

// Start serves an API until the test and its subtests have ended, and fails the test if that can't be. Of configs
// there is one or none.
func Start(t TB, configs ...Config) *API {
	t.Helper()
	var c Config
	switch len(configs) {
	case 0:
	case 1:
		c = configs[0]
	default:
		t.Fatalf("start an API: there are %d Configs, give one", len(configs))
	}
	ctx, cancel := context.WithTimeout(context.Background(), startAtMost)
	defer cancel()
	api, err := Open(ctx, c)
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() {
		if err := api.Close(); err != nil {
			t.Errorf("%v", err)
		}
	})
	return api
}

const startAtMost = time.Minute

// Open serves an API until [API.Close], which whoever calls it must call. The context bounds the start alone. When an
// error is returned nothing is left running.
func Open(ctx context.Context, c Config) (*API, error) {
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("start an API: %w", err)
	}
	a := &API{c: c}
	if err := a.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start an API: %w", err), a.Close())
	}
	return a, nil
}

// Close ends everything that was started, and returns when it has ended: nil, or what went wrong while it ran. Further
// calls return the same.
func (a *API) Close() error { return a.parts.stop() }

// URL is where the API is served.
func (a *API) URL() string { return "https://" + a.server.Addr().String() }

// CA is the certificate, in PEM, that the server's was signed by.
func (a *API) CA() []byte { return a.ca.CertificatePEM() }

// Registry is the set of kinds that are served.
func (a *API) Registry() *apimachinery.Registry { return a.registry }

// Client is a typed client in this process, as an administrator: see [client.For].
func (a *API) Client() *client.Client { return a.admin.Client() }

// RESTConfig is how client-go and controller-runtime reach the API over HTTPS, as an administrator. It is the caller's.
func (a *API) RESTConfig() *rest.Config { return a.admin.RESTConfig() }

// Kubeconfig is the content of an administrator's kubeconfig file, for kubectl.
func (a *API) Kubeconfig() ([]byte, error) { return a.admin.Kubeconfig() }

// WriteKubeconfig writes an administrator's kubeconfig to a file that its owner alone may read.
func (a *API) WriteKubeconfig(file string) error { return a.admin.WriteKubeconfig(file) }

// parts are what runs, each on what was started before it.
type parts struct {
	mu  sync.Mutex
	all []*running
	err error
}

type running struct {
	cancel context.CancelFunc
	ended  chan struct{}
	err    error
}

// run starts a part and waits until it is ready; a nil ready is ready at once.
func (p *parts) run(ctx context.Context, name string, run func(context.Context) error, ready <-chan struct{}) error {
	own, cancel := context.WithCancel(context.WithoutCancel(ctx))
	one := &running{cancel: cancel, ended: make(chan struct{})}
	p.mu.Lock()
	p.all = append(p.all, one)
	p.mu.Unlock()
	go func() {
		defer close(one.ended)
		if err := run(own); err != nil {
			one.err = fmt.Errorf("%s: %w", name, err)
		} else if own.Err() == nil {
			one.err = fmt.Errorf("%s ended by itself", name)
		}
	}()
	if ready == nil {
		return nil
	}
	select {
	case <-ready:
		return nil
	case <-one.ended:
		return one.err
	case <-ctx.Done():
		return fmt.Errorf("wait for %s: %w", name, ctx.Err())
	}
}

// stop ends the parts, the last first.
func (p *parts) stop() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.all) > 0 {
		one := p.all[len(p.all)-1]
		p.all = p.all[:len(p.all)-1]
		one.cancel()
		<-one.ended
		p.err = errors.Join(p.err, one.err)
	}
	return p.err
}
