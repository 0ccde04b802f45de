package server

import (
	"context"
	"net/url"
)

// ServiceResolver says where a service of the cluster is reached, for what this server calls: webhooks and extension
// servers. It must be safe for concurrent use.
type ServiceResolver interface {
	// Resolve returns the scheme, host and port under which the service answers at a port of its own. TLS names the
	// service, <name>.<namespace>.svc, whatever the host.
	Resolve(ctx context.Context, namespace, name string, port int32) (*url.URL, error)
}

// ServiceResolverFunc adapts a function to a [ServiceResolver].
type ServiceResolverFunc func(ctx context.Context, namespace, name string, port int32) (*url.URL, error)

// Resolve calls f.
func (f ServiceResolverFunc) Resolve(ctx context.Context, namespace, name string, port int32) (*url.URL, error) {
	return f(ctx, namespace, name, port)
}
