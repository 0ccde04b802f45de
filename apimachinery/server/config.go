package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/storage"
)

// Config configures a [Server]. Registry and DB are needed; the zero value of everything else works.
type Config struct {
	// Registry is what is served. Resources may be added and removed while the server runs.
	Registry *apimachinery.Registry
	// DB holds the objects. Whoever made it runs it: the server's reads wait until it does. It is this server's
	// alone; two servers over one store have a DB each.
	DB *storage.DB

	// Authenticator says who sent an HTTP request. Nil: everybody is system:anonymous.
	Authenticator apimachinery.Authenticator
	// Authorizer decides on every request, in process too. Nil: everything is allowed.
	Authorizer apimachinery.Authorizer
	// Admission are the admission plugins in the order in which they are asked: all that mutate, then all that
	// validate.
	Admission []apimachinery.Plugin
	// Allocator gives objects what they claim beyond what they ask for (serviceip: addresses and node ports of
	// Services), and makes the server hold objects to their claims. Nil: Services keep what they ask for, and
	// nothing keeps two from asking for the same.
	Allocator IPAllocator
	// Await is asked for a resource that the registry doesn't have, before the request is answered with 404: it
	// returns once it is clear whether the resource is about to be served. It must be safe for concurrent use and
	// return when the context ends. Nil: what isn't in the registry isn't there.
	Await func(ctx context.Context, resource schema.GroupVersionResource)
	// Connectors serve the subresources that name one (log, exec). A subresource whose connector is missing
	// answers NotFound.
	Connectors map[string]Connector

	// Proxy leads to the groups and versions that other servers have. Nil: there are none.
	Proxy Proxy

	// Listen is the address to serve at, "127.0.0.1:0" by default. Listener, where set, is used instead; Run
	// closes it.
	Listen   string
	Listener net.Listener
	// Also are further listeners that are served alike; Run closes them.
	Also []net.Listener
	// TLS is how to serve; nil: plain HTTP, for tests and for behind a proxy. Protocols are set by the server.
	TLS *tls.Config

	// Log hears of panics, of refused connections and of what the pipeline can't tell the client. Nil: off.
	Log *slog.Logger
	// Registerer takes the metrics, under Kubernetes' names. Nil: off.
	Registerer prometheus.Registerer
	// Gatherer has what /metrics serves. Nil: there is no /metrics.
	Gatherer prometheus.Gatherer
	// Tracer takes a span for each request over HTTP, with those of its parts, under Kubernetes' names. Which of them
	// are sampled is its own. Nil: off.
	Tracer trace.TracerProvider
	// Audit is told of requests, those of this process too: package audit has Kubernetes' policies and backends,
	// [AuditFunc] is for a function. Nil: off.
	Audit Auditor
	// Profiling serves the Go profiles of this process at /debug/pprof, to those whom the Authorizer lets.
	Profiling bool
	// Checks are asked for /readyz and /healthz beside the server's own, by name, which may have slashes
	// (poststarthook/rbac/bootstrap-roles). A check must return within a second.
	Checks map[string]func(context.Context) error
	// Extensions are groups that other servers have, for discovery and OpenAPI. Nil: none.
	Extensions Extensions
	// Now is the clock for timestamps in objects. Nil: time.Now.
	Now func() time.Time
	// Version is what /version tells. Zero: v1.37.0 of this project.
	Version version.Info

	Limits Limits
}

// Limits bound what requests can cost. Zero fields take the default.
type Limits struct {
	// Body is the largest request body in bytes, also after conversion from YAML: 3 MiB. Beyond it: 413.
	Body int64
	// Reads and Writes are how many requests may be under way at once: 400 and 200. Beyond it: 429 with
	// Retry-After. Watches count until they have begun, and members of system:masters don't count. Where the Registry
	// has the kinds of flow control, their sum is what priority levels share, and requests wait before they are refused
	// (see package fairness).
	Reads, Writes int
	// Timeout ends requests that aren't watches, logs or connections: 60 s. Then: 504.
	Timeout time.Duration
	// ShutdownDelay is how long requests are still taken when Run's context has ended, while /readyz fails, so that balancers
	// notice before connections are refused: 0. /livez goes on.
	ShutdownDelay time.Duration
	// Goaway is the chance, up to 0.02, that a request over HTTP/2 asks its client to connect anew afterwards, which spreads
	// clients over servers behind a balancer: 0. Watches and connections are left alone.
	Goaway float64
	// Drain is how long requests under way may take to end when Run's context has ended: 10 s.
	Drain time.Duration
	// Watch is the longest that a watch lasts where the client names no timeoutSeconds: between once and
	// twice this, 30 min. Bookmark is the time between bookmarks of a watch: 1 min.
	Watch, Bookmark time.Duration
	// Buffer is how many bytes of a watch are collected before they are written, and half of those of a list: 128 KiB.
	// A list that is sent has two such buffers.
	Buffer int
	// Messages is how many bytes of large lists in protobuf are kept for those who ask for the same within two
	// minutes: 160 MiB, about 25,000 pods.
	Messages int64
	// Attempts is how often a patch or another write without resourceVersion is tried when others change the
	// object at the same time: 256. Beyond it: 409.
	Attempts int
	// PatchOperations is the longest JSON patch: 10,000 operations. Beyond it: 413.
	PatchOperations int
	// Streams is the most HTTP/2 streams of a connection: 250. Header is the size of the largest header: 64 KiB.
	Streams, Header int
	// Sweep is the time between searches for objects past their TTL: 1 min.
	Sweep time.Duration
}

const maxGoaway = 0.02

// Connector serves a subresource that is a connection. parent is the object it belongs to, the caller's own.
type Connector interface {
	Connect(ctx context.Context, r *apimachinery.Request, parent apimachinery.Object) (*apimachinery.Response, error)
}

// ConnectorFunc adapts a function to a [Connector].
type ConnectorFunc func(ctx context.Context, r *apimachinery.Request, parent apimachinery.Object) (*apimachinery.Response, error)

// Connect calls f.
func (f ConnectorFunc) Connect(ctx context.Context, r *apimachinery.Request, parent apimachinery.Object) (*apimachinery.Response, error) {
	return f(ctx, r, parent)
}

func (c *Config) validate() error {
	switch {
	case c.Registry == nil:
		return errors.New("no Registry: give the resources to serve")
	case c.DB == nil:
		return errors.New("no DB: give a storage.DB")
	case c.TLS != nil && len(c.TLS.Certificates) == 0 && c.TLS.GetCertificate == nil && c.TLS.GetConfigForClient == nil:
		return errors.New("the TLS configuration has no certificate")
	}
	l := &c.Limits
	for _, n := range []int64{
		l.Body, int64(l.Reads), int64(l.Writes), int64(l.Timeout), int64(l.ShutdownDelay), int64(l.Drain), int64(l.Watch), int64(l.Bookmark),
		int64(l.Buffer), l.Messages, int64(l.Attempts), int64(l.PatchOperations), int64(l.Streams), int64(l.Header), int64(l.Sweep),
	} {
		if n < 0 {
			return fmt.Errorf("a limit is negative: %d", n)
		}
	}
	if l.Goaway < 0 || l.Goaway > maxGoaway {
		return fmt.Errorf("the chance of a GOAWAY is %v: it lies between 0 and %v", l.Goaway, maxGoaway)
	}
	for i, p := range c.Admission {
		if p.Name == "" || p.Mutate == nil && p.Validate == nil {
			return fmt.Errorf("admission plugin %d needs a name, and Mutate or Validate", i)
		}
	}
	return nil
}

func (c Config) withDefaults() Config {
	l := &c.Limits
	l.Body = or(l.Body, 3<<20)
	l.Reads, l.Writes = or(l.Reads, 400), or(l.Writes, 200)
	l.Timeout, l.Drain = or(l.Timeout, time.Minute), or(l.Drain, 10*time.Second)
	l.Watch, l.Bookmark = or(l.Watch, 30*time.Minute), or(l.Bookmark, time.Minute)
	l.Buffer, l.Attempts = or(l.Buffer, 128<<10), or(l.Attempts, 256)
	l.Messages = or(l.Messages, 160<<20)
	l.PatchOperations = or(l.PatchOperations, 10_000)
	l.Streams, l.Header = or(l.Streams, 250), or(l.Header, 64<<10)
	l.Sweep = or(l.Sweep, time.Minute)
	c.Listen = or(c.Listen, "127.0.0.1:0")
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Version == (version.Info{}) {
		c.Version = version.Info{Major: "1", Minor: "37", GitVersion: "v1.37.0+bedplate", Platform: platform(), GoVersion: goVersion(), Compiler: "gc"}
	}
	return c
}

func or[T comparable](v, d T) T {
	var zero T
	if v == zero {
		return d
	}
	return v
}
