package bedplate

import (
	"context"

	corev1 "k8s.io/api/core/v1"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/rbac"
	"github.com/bedplate/bedplate/reconcile"
	"github.com/bedplate/bedplate/reconcile/controllers/deployment"
	"github.com/bedplate/bedplate/reconcile/controllers/garbagecollector"
	"github.com/bedplate/bedplate/reconcile/controllers/namespace"
	"github.com/bedplate/bedplate/reconcile/controllers/replicaset"
	"github.com/bedplate/bedplate/reconcile/controllers/rootca"
	"github.com/bedplate/bedplate/reconcile/controllers/serviceaccount"
	"github.com/bedplate/bedplate/reconcile/controllers/token"
	"github.com/bedplate/bedplate/reconcile/informer"
	"github.com/bedplate/bedplate/reconcile/leader"
	"github.com/bedplate/bedplate/scheduling/pods"
)

// actor is the client of one part of the control plane, under an identity of its own.
func (p *ControlPlane) actor(user string, groups ...string) *client.Client {
	return client.New(p.As(apimachinery.User{Name: user, Groups: append(groups, rbac.AuthenticatedGroup)}), p.registry)
}

// controllers are the built-in controllers by the names of their identities.
func (p *ControlPlane) controllers() map[string]func(*reconcile.Manager) error {
	return map[string]func(*reconcile.Manager) error{
		"deployment-controller":      deployment.Add,
		"replicaset-controller":      replicaset.Add,
		"namespace-controller":       namespace.Add,
		"service-account-controller": serviceaccount.Add,
		"generic-garbage-collector":  func(m *reconcile.Manager) error { garbagecollector.Add(m); return nil },
		"root-ca-cert-publisher":     func(m *reconcile.Manager) error { return rootca.Add(m, p.CA()) },
		"tokens-controller": func(m *reconcile.Manager) error {
			return token.Add(m, token.Config{Issuer: p.security.issuer, CA: p.CA()})
		},
	}
}

// startControllers starts each controller under its own, least-privileged identity. Over a store that several
// control planes may share, each has a lease of its name: one of them works, and what a deposed one writes is refused.
func (p *ControlPlane) startControllers(ctx context.Context) error {
	for name, add := range p.controllers() {
		user, groups := rbac.ControllerUser(name), []string{"system:serviceaccounts", "system:serviceaccounts:kube-system"}
		c := reconcile.Config{Client: p.actor(user, groups...), Tables: p.server, Name: name, Log: p.c.Log}
		if p.c.Backend != nil {
			c.Lead = &leader.Config{Client: p.actor(rbac.ControllerManagerUser), Name: name}
		}
		m, err := reconcile.New(c)
		if err != nil {
			return err
		}
		if err := add(m); err != nil {
			return err
		}
		if err := p.layers.start(ctx, name, m.Run, nil); err != nil {
			return err
		}
	}
	return nil
}

// startScheduler starts the scheduler of pods, which follows the server's own tables.
func (p *ControlPlane) startScheduler(ctx context.Context) error {
	c := p.actor(rbac.SchedulerUser)
	podCache, err := informer.Of(p.server, client.For[*corev1.Pod](c), p.c.Log)
	if err != nil {
		return err
	}
	nodeCache, err := informer.Of(p.server, client.For[*corev1.Node](c), p.c.Log)
	if err != nil {
		return err
	}
	s, err := pods.New(pods.DriverConfig{Client: c, Pods: podCache, Nodes: nodeCache, Log: p.c.Log})
	if err != nil {
		return err
	}
	if err := p.layers.start(ctx, "pods", podCache.Run, nil); err != nil {
		return err
	}
	if err := p.layers.start(ctx, "nodes", nodeCache.Run, nil); err != nil {
		return err
	}
	return p.layers.start(ctx, "scheduler", s.Run, nil)
}
