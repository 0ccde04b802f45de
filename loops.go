package bedplate

import (
	"context"

	corev1 "k8s.io/api/core/v1"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/rbac"
	"github.com/bedplate/bedplate/reconcile"
	"github.com/bedplate/bedplate/reconcile/controllers"
	"github.com/bedplate/bedplate/reconcile/controllers/nodelifecycle"
	"github.com/bedplate/bedplate/reconcile/informer"
	"github.com/bedplate/bedplate/reconcile/leader"
	"github.com/bedplate/bedplate/scheduling/pods"
)

// actor is the client of one part of the control plane, under an identity of its own.
func (p *ControlPlane) actor(user string, groups ...string) *client.Client {
	return client.New(p.As(apimachinery.User{Name: user, Groups: append(groups, rbac.AuthenticatedGroup)}), p.registry)
}

// startControllers starts the controllers, each under its own, least-privileged identity, on caches that they share.
// Over a store that several control planes may share they are led: one control plane's work, and what a deposed
// leader writes is refused.
func (p *ControlPlane) startControllers(ctx context.Context) error {
	c := reconcile.Config{Client: p.actor(rbac.ControllerManagerUser), Tables: p.server, Name: "kube-controller-manager", Log: p.c.Log}
	if p.c.Backend != nil {
		c.Lead = &leader.Config{Name: "kube-controller-manager"}
	}
	m, err := reconcile.New(c)
	if err != nil {
		return err
	}
	err = controllers.Add(m, controllers.Config{
		Client: func(name string) *client.Client {
			return p.actor(rbac.ControllerUser(name), "system:serviceaccounts", "system:serviceaccounts:kube-system")
		},
		CA: p.CA(), Issuer: p.security.issuer, NodeLifecycle: nodelifecycle.Config{Grace: p.c.NodeGrace},
		PodRanges: p.c.Pods, ServiceRanges: p.c.Services,
	})
	if err != nil {
		return err
	}
	return p.layers.start(ctx, "controllers", m.Run, nil)
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
