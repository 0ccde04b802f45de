package bedplate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.opentelemetry.io/otel/trace"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/callout"
	"github.com/bedplate/bedplate/apimachinery/cel"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/apimachinery/server"
	"github.com/bedplate/bedplate/apimachinery/server/audit"
	"github.com/bedplate/bedplate/apimachinery/server/crd"
	"github.com/bedplate/bedplate/apimachinery/server/pki"
	"github.com/bedplate/bedplate/apimachinery/server/serviceip"
	"github.com/bedplate/bedplate/rbac/authn"
	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/etcd/care"
	"github.com/bedplate/bedplate/storage/seal/kubernetes"
)

// Config says what control plane to start. The zero value is one in memory, on a free port of 127.0.0.1.
type Config struct {
	// Dir is the folder of everything that outlives a restart: the store, the certificate authority. It is made
	// if it is missing; one process may use it at a time. Empty: everything is kept in memory.
	Dir string
	// Backend is a store of your own, any etcd say (storage/etcd), to be used instead of the embedded one. The
	// caller opens and closes it.
	Backend storage.Backend
	// Listen is where to serve HTTPS, "127.0.0.1:0" by default. Hosts are further names and addresses under
	// which clients reach it, for its certificate.
	Listen string
	Hosts  []string
	// Advertise is the address at which pods and other machines reach the API, at Listen's port: it is served there
	// too, and the Service default/kubernetes leads to it. Zero: nowhere but at Listen.
	Advertise netip.Addr
	// Services are the ranges of the services' addresses, 10.96.0.0/16 by default; Pods those of the pods, of which
	// each node gets a /24, 10.244.0.0/16 by default. None may overlap with another, or with what machines have.
	Services, Pods []netip.Prefix
	// DNS is the address of the Service kube-system/kube-dns, for nodes that answer to it. Zero: there is no such Service.
	DNS netip.Addr
	// NodeGrace is how long a node may be silent before its pods are moved, 50 s by default.
	NodeGrace time.Duration
	// Resources are kinds of your own, beside the built-in ones.
	Resources []apimachinery.Resource
	// Convert has Go functions that convert the objects of CustomResourceDefinitions among their versions, by kind,
	// whatever the strategy that a definition names.
	Convert map[schema.GroupKind]crd.Convert
	// Admission are plugins of your own, asked after the built-in ones.
	Admission []apimachinery.Plugin
	// Encryption is the file of an EncryptionConfiguration (apiserver.config.k8s.io/v1), by which the store is sealed as
	// Kubernetes does: see storage/seal/kubernetes. EncryptionReload goes by the file anew when it changes. Empty: the
	// store is as plain as its Backend is.
	Encryption       string
	EncryptionReload bool
	// Audit keeps a record of requests: by a policy, in a file or at a webhook. Its Log and Registerer are this
	// configuration's where they are nil. Nil: off.
	Audit *audit.Config
	// Dial connects to the services that webhooks and extension servers are behind, at a ready endpoint's address and
	// port. Nil: directly, and never to loopback or link-local addresses, which whoever may write a Service could name.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// FrontProxy is whom this control plane believes who sends a request, where it is an extension server of another
	// cluster: what that publishes in the ConfigMap kube-system/extension-apiserver-authentication. Nil: nobody.
	FrontProxy *authn.FrontProxy
	// Tokens are static bearer tokens and who shows them.
	Tokens map[string]apimachinery.User
	// Connectors serve subresources that are connections, beside those that lead into nodes.
	Connectors map[string]server.Connector
	// Log hears of everything worth a line. Nil: off.
	Log *slog.Logger
	// Registerer and Gatherer take the metrics and give them to /metrics. Nil: a registry of this control plane's own,
	// and beside it the process' and what an etcd in Dir counts (see care.EtcdMetrics: for the whole process).
	Registerer prometheus.Registerer
	Gatherer   prometheus.Gatherer
	// Tracer takes the traces of requests, under Kubernetes' names. Nil: off.
	Tracer trace.TracerProvider
	// Profiling serves the Go profiles of this process at /debug/pprof, to administrators.
	Profiling bool
	// Stage is told of each stage of the start when it is done, with the time it took. Nil: off.
	Stage func(name string, took time.Duration)
}

// ControlPlane is a running control plane. Its methods may be called concurrently.
type ControlPlane struct {
	c        Config
	layers   *layers
	registry *apimachinery.Registry
	ca       *pki.Authority
	front    *pki.Authority // of the front proxy
	db       *storage.DB
	keys     *kubernetes.Keys // nil: the store is not sealed
	security *security
	services *serviceip.Allocator
	policy   chan struct{} // closed when what every cluster has is there
	language *cel.Environment
	server   *server.Server

	stopOnce sync.Once
	stopErr  error
	stopped  chan struct{}
}

// Start starts a control plane and returns when it is ready to serve. Whoever calls it must call Stop. The
// context bounds the start alone. When an error is returned nothing is left running.
func Start(ctx context.Context, c Config) (*ControlPlane, error) {
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("start control plane: %w", err)
	}
	p := &ControlPlane{c: c.withDefaults(), layers: newLayers(), language: cel.New(), stopped: make(chan struct{}), policy: make(chan struct{})}
	if err := p.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start control plane: %w", err), p.Stop())
	}
	return p, nil
}

func (c *Config) validate() error {
	if c.Listen != "" {
		if _, _, err := net.SplitHostPort(c.Listen); err != nil {
			return fmt.Errorf("listen address %q: %w: give host:port, as in 127.0.0.1:6443", c.Listen, err)
		}
	}
	if c.Advertise.IsLoopback() || c.Advertise.IsUnspecified() {
		return fmt.Errorf("advertised address %s: pods can't reach it: give one of this machine's other addresses", c.Advertise)
	}
	if c.Dir == "" {
		return nil
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	return nil
}

func (c Config) withDefaults() Config {
	if c.Listen == "" {
		c.Listen = "127.0.0.1:0"
	}
	if len(c.Services) == 0 {
		c.Services = []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16")}
	}
	if len(c.Pods) == 0 {
		c.Pods = []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")}
	}
	if c.Dial == nil {
		c.Dial = callout.Guarded()
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Registerer == nil && c.Gatherer == nil {
		own := prometheus.NewRegistry()
		own.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})) // they are the first
		c.Registerer, c.Gatherer = own, own
		if c.Backend == nil && c.Dir != "" {
			c.Gatherer = prometheus.Gatherers{own, care.EtcdMetrics()}
		}
	}
	if c.Stage == nil {
		c.Stage = func(string, time.Duration) {}
	}
	return c
}

// dir is a folder inside the data folder, "" if there is none.
func (c *Config) dir(name string) string {
	if c.Dir == "" {
		return ""
	}
	return filepath.Join(c.Dir, name)
}

// URL is where the API is served.
func (p *ControlPlane) URL() string { return "https://" + p.server.Addr().String() }

// CA is the certificate of the control plane's own authority, in PEM.
func (p *ControlPlane) CA() []byte { return p.ca.CertificatePEM() }

// Kubeconfig returns a kubeconfig with a client certificate of a year for a user of some groups. An
// administrator is a member of the group system:masters.
func (p *ControlPlane) Kubeconfig(user string, groups ...string) ([]byte, error) {
	return p.ca.Kubeconfig(p.URL(), user, groups...)
}

// WriteKubeconfig writes the kubeconfig of a user of some groups to a file that its owner alone may read, whole or
// not at all. It replaces what was there.
func (p *ControlPlane) WriteKubeconfig(file, user string, groups ...string) error {
	k, err := p.Kubeconfig(user, groups...)
	if err != nil {
		return err
	}
	return pki.WriteFile(file, k, 0o600)
}

// As returns the door for code in this process that acts as a user.
func (p *ControlPlane) As(u apimachinery.User) apimachinery.Doer { return p.server.As(u) }

// Client returns a client in this process, as an administrator.
func (p *ControlPlane) Client() *client.Client {
	return client.New(p.As(apimachinery.User{Name: "system:admin", Groups: []string{"system:masters", "system:authenticated"}}), p.registry)
}

// Registry is the set of kinds that are served. Kinds may be added while the control plane runs.
func (p *ControlPlane) Registry() *apimachinery.Registry { return p.registry }

// Done is closed when the control plane has stopped, or a part of it has failed: Stop then says how.
func (p *ControlPlane) Done() <-chan struct{} { return p.layers.ended }

// Context returns a context that ends with parent, or when the control plane does: for what works on it.
func (p *ControlPlane) Context(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(parent)
	go func() {
		select {
		case <-p.Done():
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// Stop ends everything that Start began, and returns when it has ended: with nil, or with what went wrong
// while it ran or while it stopped. Further calls return the same.
func (p *ControlPlane) Stop() error {
	p.stopOnce.Do(func() {
		p.stopErr = p.layers.stop()
		close(p.stopped)
	})
	<-p.stopped
	return p.stopErr
}
