// Package endpoints keeps the Endpoints object of each Service that has a selector, for those that still read it:
// what reads EndpointSlices needs none of it, and large services don't fit ([Max]).
//
// [Diff] decides, as a pure function; [Add] runs it with a manager. Pods are found and judged as package
// endpointslice does it, by its package backend, whose index both may share. Endpoints of services without a
// selector are their author's.
package endpoints

import (
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/reconcile"
	"github.com/bedplate/bedplate/reconcile/controllers/endpointslice/backend"
	"github.com/bedplate/bedplate/reconcile/events"
	"github.com/bedplate/bedplate/reconcile/informer"
)

// Config configures the controller. The zero value works.
type Config struct {
	// Workers is how many services are worked on at once. Default 5.
	Workers int
	// Backends may be shared with other controllers of the manager. nil: the controller opens its own.
	Backends *backend.Index
}

func (c *Config) validate() error {
	if c.Workers == 0 {
		c.Workers = 5
	}
	if c.Workers < 0 {
		return errors.New("Workers must not be negative")
	}
	return nil
}

// Add adds the controller to a manager whose client knows Service, Pod, Node, Endpoints and Event.
func Add(m *reconcile.Manager, config Config) error {
	c := &controller{
		services:  client.For[*corev1.Service](m.Client()),
		endpoints: client.For[*corev1.Endpoints](m.Client()),
	}
	if err := errors.Join(config.validate(), c.open(m, config.Backends)); err != nil {
		return fmt.Errorf("add controller endpoints: %w", err)
	}
	return reconcile.Add(m, reconcile.Controller[*corev1.Service]{
		Name:      "endpoints",
		Reconcile: c.reconcile,
		Gone:      c.gone,
		Workers:   config.Workers,
		Watches: append(c.backends.Watches(), reconcile.Watches(func(e *corev1.Endpoints) []string {
			return []string{apimachinery.KeyOf(e)}
		})),
	})
}

type controller struct {
	services  client.Resource[*corev1.Service]
	endpoints client.Resource[*corev1.Endpoints]
	cache     *informer.Informer[*corev1.Endpoints]
	backends  *backend.Index
	times     backend.Times
	events    *events.Recorder
}

func (c *controller) open(m *reconcile.Manager, shared *backend.Index) (err error) {
	if c.cache, err = reconcile.Informer[*corev1.Endpoints](m); err != nil {
		return err
	}
	if c.backends = shared; c.backends == nil {
		if c.backends, err = backend.Open(m); err != nil {
			return err
		}
	}
	c.events, err = m.Events()
	return err
}

func (c *controller) reconcile(ctx context.Context, s *corev1.Service) (reconcile.Result, error) {
	if !backend.Selects(s) || s.DeletionTimestamp != nil {
		return reconcile.Result{}, nil
	}
	w := World{Service: s, Pods: c.backends.Pods(s)}
	w.Have, _ = c.cache.View(apimachinery.KeyOf(s))
	changed, done := c.times.Changed(s, w.Pods)
	w.Changed = changed
	want, change := Diff(w)
	var err error
	switch {
	case !change:
	case w.Have == nil:
		_, err = c.endpoints.Create(ctx, want)
	default:
		_, err = c.endpoints.Update(ctx, want)
	}
	switch {
	case err == nil:
		done()
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return reconcile.Result{}, nil // nothing is to be made there any more
	case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err), apierrors.IsNotFound(err), ctx.Err() != nil:
	case w.Have == nil:
		c.events.Warning(s, "FailedToCreateEndpoint", "Failed to create endpoint for service %s: %v", apimachinery.KeyOf(s), err)
	default:
		c.events.Warning(s, "FailedToUpdateEndpoint", "Failed to update endpoint %s: %v", apimachinery.KeyOf(s), err)
	}
	return reconcile.Result{}, err
}

// gone removes what a service left, if the controller wrote it. It asks the API first: the cache may be older.
func (c *controller) gone(ctx context.Context, key string) error {
	e, ok := c.cache.View(key)
	if !ok || e.Labels[ManagedByLabel] != ManagedBy {
		c.times.Forget(key)
		return nil
	}
	namespace, name, _ := strings.Cut(key, "/")
	_, err := c.services.Get(ctx, namespace, name)
	switch {
	case err == nil:
		return nil // its coming is a change of its own
	case !apierrors.IsNotFound(err):
		return err
	}
	c.times.Forget(key)
	err = c.endpoints.Delete(ctx, namespace, name, client.IfUID(e.UID))
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil // it is gone, or another
	}
	return err
}
