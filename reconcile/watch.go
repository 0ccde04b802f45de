package reconcile

import (
	"context"
	"fmt"
	"sync/atomic"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/reconcile/informer"
)

// Watch is something whose changes make a controller work: see [Owns], [Watches], [Triggered].
type Watch struct {
	open func(m *Manager, of target) (*source, error)
}

// target is the kind that a controller works on.
type target struct {
	kind       schema.GroupVersionKind
	namespaced bool
}

// source is an opened watch.
type source struct {
	cache cache // nil for triggers
	// begin tells of keys until stop; initial are those of objects that were there at the start.
	begin func(ctx context.Context, add func(key string, initial bool)) (stop func())
}

// Owns watches T: when one changes, the object that controls it by an ownerReference is worked on.
func Owns[T apimachinery.Object]() Watch {
	return Watch{func(m *Manager, of target) (*source, error) {
		return open(m, client.For[T](m.c.Client), func(o T) []string { return ownerKeys(o, of) })
	}}
}

// ownerKeys is the key of an object's controller, if that is of a kind.
func ownerKeys(o metav1.Object, of target) []string {
	ref := metav1.GetControllerOfNoCopy(o)
	if ref == nil || ref.Kind != of.kind.Kind {
		return nil
	}
	if gv, err := schema.ParseGroupVersion(ref.APIVersion); err != nil || gv.Group != of.kind.Group {
		return nil
	}
	if of.namespaced {
		return []string{apimachinery.Key(o.GetNamespace(), ref.Name)}
	}
	return []string{ref.Name}
}

// Watches watches T: when one changes, the objects with the keys that keys returns are worked on, those of the old
// object as those of the new. The object is shared: nobody may change it.
func Watches[T apimachinery.Object](keys func(T) []string) Watch {
	return Watch{func(m *Manager, _ target) (*source, error) {
		return open(m, client.For[T](m.c.Client), keys)
	}}
}

// WatchesMetadata is [Watches] of the metadata of any resource.
func WatchesMetadata(resource schema.GroupVersionResource, namespaced bool, keys func(*metav1.PartialObjectMetadata) []string) Watch {
	return Watch{func(m *Manager, _ target) (*source, error) {
		return open(m, client.Metadata(m.c.Client, resource, namespaced), keys)
	}}
}

// Triggered works on whatever keys a function of yours adds; it runs with the controller, and ends with ctx.
func Triggered(run func(ctx context.Context, add func(key string))) Watch {
	return Watch{func(*Manager, target) (*source, error) {
		return &source{begin: func(ctx context.Context, add func(string, bool)) func() {
			done := make(chan struct{})
			go func() {
				defer close(done)
				run(ctx, func(key string) { add(key, false) })
			}()
			return func() { <-done }
		}}, nil
	}}
}

func open[T apimachinery.Object](m *Manager, r client.Resource[T], keys func(T) []string) (*source, error) {
	i, err := InformerOf(m, r)
	if err != nil {
		return nil, fmt.Errorf("watch %T: %w", *new(T), err)
	}
	begin := func(_ context.Context, add func(string, bool)) func() {
		return handle(i, func(c informer.Change[T], initial bool) {
			if !c.Added {
				for _, key := range keys(c.Old) {
					add(key, initial)
				}
			}
			if !c.Deleted {
				for _, key := range keys(c.New) {
					add(key, initial)
				}
			}
		})
	}
	return &source{cache: m.cacheOf(i), begin: begin}, nil
}

// handle tells of an informer's changes, and which of them are of objects that were there at the start.
func handle[T apimachinery.Object](i *informer.Informer[T], change func(c informer.Change[T], initial bool)) (stop func()) {
	var registered atomic.Bool
	defer registered.Store(true)
	return i.Handle(informer.Handler[T]{Change: func(c informer.Change[T]) {
		change(c, c.Added && !(registered.Load() && isClosed(i.Synced())))
	}})
}

func (m *Manager) cacheOf(i any) cache {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.caches {
		if c.informer() == i {
			return c
		}
	}
	return nil
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
