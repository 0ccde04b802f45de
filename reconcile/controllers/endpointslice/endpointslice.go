// Package endpointslice keeps the EndpointSlices of each Service that has a selector: where its pods are, which of
// them are ready, and on which ports they listen. Proxies and DNS read them.
//
// [Diff] decides, as a pure function; [Add] runs it with a manager. Package backend finds the pods of a service and
// says when they changed in what matters, so that a pod that becomes ready costs a comparison and one write.
// Slices whose label endpointslice.kubernetes.io/managed-by says something else are left alone.
package endpointslice

import (
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
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
	// Max is how many endpoints a slice holds, up to 1,000. Default 100.
	Max int
	// Workers is how many services are worked on at once. Default 5.
	Workers int
	// Backends may be shared with other controllers of the manager. nil: the controller opens its own.
	Backends *backend.Index
}

func (c *Config) validate() error {
	if c.Max == 0 {
		c.Max = 100
	}
	if c.Workers == 0 {
		c.Workers = 5
	}
	if c.Max < 0 || c.Max > 1000 {
		return errors.New("Max must be from 1 to 1,000")
	}
	if c.Workers < 0 {
		return errors.New("Workers must not be negative")
	}
	return nil
}

// Add adds the controller to a manager whose client knows Service, Pod, Node, EndpointSlice and Event.
func Add(m *reconcile.Manager, config Config) error {
	c := &controller{
		services: client.For[*corev1.Service](m.Client()),
		slices:   client.For[*discoveryv1.EndpointSlice](m.Client()),
		max:      config.Max,
	}
	if err := errors.Join(config.validate(), c.open(m, &config)); err != nil {
		return fmt.Errorf("add controller endpointslice: %w", err)
	}
	return reconcile.Add(m, reconcile.Controller[*corev1.Service]{
		Name:      "endpointslice",
		Reconcile: c.reconcile,
		Gone:      c.gone,
		Workers:   config.Workers,
		Watches:   append(c.backends.Watches(), reconcile.Watches(serviceOf)),
	})
}

type controller struct {
	services client.Resource[*corev1.Service]
	slices   client.Resource[*discoveryv1.EndpointSlice]
	cache    *informer.Informer[*discoveryv1.EndpointSlice]
	backends *backend.Index
	times    backend.Times
	events   *events.Recorder
	max      int
}

// byService is the index of the controller's slices by the keys of services that they say they belong to.
const byService = "endpointslice.service"

func (c *controller) open(m *reconcile.Manager, config *Config) (err error) {
	c.max = config.Max
	if c.cache, err = reconcile.Informer[*discoveryv1.EndpointSlice](m); err != nil {
		return err
	}
	if err := c.cache.EnsureIndex(byService, serviceOf); err != nil {
		return err
	}
	if c.backends = config.Backends; c.backends == nil {
		if c.backends, err = backend.Open(m); err != nil {
			return err
		}
	}
	c.events, err = m.Events()
	return err
}

// serviceOf is the services that one of the controller's slices belongs to: by its label and by its owner. They are
// one, unless somebody has changed the slice.
func serviceOf(s *discoveryv1.EndpointSlice) (keys []string) {
	if s.Labels[discoveryv1.LabelManagedBy] != ManagedBy {
		return nil
	}
	name := s.Labels[discoveryv1.LabelServiceName]
	if name != "" {
		keys = append(keys, apimachinery.Key(s.Namespace, name))
	}
	for _, ref := range s.OwnerReferences {
		if ref.Kind == "Service" && ref.APIVersion == "v1" && ref.Controller != nil && *ref.Controller && ref.Name != name {
			keys = append(keys, apimachinery.Key(s.Namespace, ref.Name))
		}
	}
	return keys
}

func (c *controller) reconcile(ctx context.Context, s *corev1.Service) (reconcile.Result, error) {
	if !backend.Selects(s) {
		return reconcile.Result{}, nil
	}
	w := World{Service: s, Pods: c.backends.Pods(s), Zone: c.backends.Zone, Max: c.max}
	for slice := range c.cache.ByIndex(byService, apimachinery.KeyOf(s)) {
		w.Slices = append(w.Slices, slice)
	}
	changed, done := c.times.Changed(s, w.Pods)
	w.Changed = changed
	err := c.act(ctx, Diff(w))
	switch {
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return reconcile.Result{}, nil // nothing is to be made there any more
	case err == nil:
		done()
	case !apierrors.IsConflict(err) && ctx.Err() == nil:
		c.events.Warning(s, "FailedToUpdateEndpointSlices", "Error updating Endpoint Slices for Service %s: %v", apimachinery.KeyOf(s), err)
	}
	return reconcile.Result{}, err
}

// act writes a plan: what is new first, so that no endpoint is missing in between. It goes on after an error.
func (c *controller) act(ctx context.Context, p Plan) error {
	var errs []error
	for _, s := range p.Create {
		_, err := c.slices.Create(ctx, s)
		errs = append(errs, err)
	}
	for _, s := range p.Update {
		_, err := c.slices.Update(ctx, s)
		if !apierrors.IsNotFound(err) { // if it is gone, that is a change of its own
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, c.remove(ctx, p.Delete))...)
}

func (c *controller) remove(ctx context.Context, slices []*discoveryv1.EndpointSlice) error {
	var errs []error
	for _, s := range slices {
		err := c.slices.Delete(ctx, s.Namespace, s.Name, client.IfUID(s.UID))
		if !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) { // it is gone, or another
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// gone removes what a service left, without waiting for the garbage collector. It asks the API first: slices may
// be in the cache before their service is.
func (c *controller) gone(ctx context.Context, key string) error {
	var left []*discoveryv1.EndpointSlice
	for s := range c.cache.ByIndex(byService, key) {
		left = append(left, s)
	}
	if len(left) == 0 {
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
	return c.remove(ctx, left)
}
