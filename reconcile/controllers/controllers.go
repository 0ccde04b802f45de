// Package controllers gathers the controllers of a cluster; each has a package of its own and can be added alone.
package controllers

import (
	"errors"
	"net/netip"

	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/reconcile"
	"github.com/bedplate/bedplate/reconcile/controllers/deployment"
	"github.com/bedplate/bedplate/reconcile/controllers/endpoints"
	"github.com/bedplate/bedplate/reconcile/controllers/endpointslice"
	"github.com/bedplate/bedplate/reconcile/controllers/endpointslice/backend"
	"github.com/bedplate/bedplate/reconcile/controllers/garbagecollector"
	"github.com/bedplate/bedplate/reconcile/controllers/namespace"
	"github.com/bedplate/bedplate/reconcile/controllers/nodeipam"
	"github.com/bedplate/bedplate/reconcile/controllers/nodelifecycle"
	"github.com/bedplate/bedplate/reconcile/controllers/podgc"
	"github.com/bedplate/bedplate/reconcile/controllers/replicaset"
	"github.com/bedplate/bedplate/reconcile/controllers/rootca"
	"github.com/bedplate/bedplate/reconcile/controllers/serviceaccount"
	"github.com/bedplate/bedplate/reconcile/controllers/token"
)

// The names under which the controllers write: Kubernetes' own.
const (
	Deployment       = "deployment-controller"
	ReplicaSet       = "replicaset-controller"
	GarbageCollector = "generic-garbage-collector"
	Namespace        = "namespace-controller"
	ServiceAccount   = "service-account-controller"
	RootCA           = "root-ca-cert-publisher"
	Token            = "tokens-controller"
	NodeLifecycle    = "node-controller"
	PodGC            = "pod-garbage-collector"
	EndpointSlice    = "endpointslice-controller"
	Endpoints        = "endpoint-controller"
	NodeIPAM         = "node-controller"
)

// Config says what the controllers need beside the API.
type Config struct {
	// Client returns the client that a controller, by its name above, writes through. nil: the manager's for all.
	Client func(name string) *client.Client
	// CA is the certificate of the API server's authority, in PEM. Empty: it is not published.
	CA []byte
	// Issuer makes tokens for secrets. nil: secrets get none.
	Issuer token.Issuer
	// NodeLifecycle says when a node counts as lost, and what becomes of its pods.
	NodeLifecycle nodelifecycle.Config
	// PodRanges are the cluster's, of which each node gets a part; empty: nodes get none. ServiceRanges are left out.
	PodRanges, ServiceRanges []netip.Prefix
}

// Add adds them all to a manager whose client knows the kinds of core, apps and discovery.
func Add(m *reconcile.Manager, c Config) error {
	as := func(name string) *reconcile.Manager {
		if c.Client == nil {
			return m.As(m.Client(), name)
		}
		return m.As(c.Client(name), name)
	}
	backends, err := backend.Open(m)
	if err != nil {
		return err
	}
	garbagecollector.Add(as(GarbageCollector))
	errs := []error{
		endpointslice.Add(as(EndpointSlice), endpointslice.Config{Backends: backends}),
		endpoints.Add(as(Endpoints), endpoints.Config{Backends: backends}),
		deployment.Add(as(Deployment)), replicaset.Add(as(ReplicaSet)), namespace.Add(as(Namespace)),
		serviceaccount.Add(as(ServiceAccount)), nodelifecycle.Add(as(NodeLifecycle), c.NodeLifecycle), podgc.Add(as(PodGC), podgc.Config{}),
	}
	if len(c.PodRanges) > 0 {
		errs = append(errs, nodeipam.Add(as(NodeIPAM), nodeipam.Config{Ranges: c.PodRanges, Exclude: c.ServiceRanges}))
	}
	if len(c.CA) > 0 {
		errs = append(errs, rootca.Add(as(RootCA), c.CA))
	}
	if c.Issuer != nil {
		errs = append(errs, token.Add(as(Token), token.Config{Issuer: c.Issuer, CA: c.CA}))
	}
	return errors.Join(errs...)
}
