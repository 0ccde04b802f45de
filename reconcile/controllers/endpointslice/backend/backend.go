// Package backend knows which pods stand behind which services, for the controllers that write it down: package
// endpointslice and package endpoints.
//
// [Of] takes from a pod what matters to a service; an [Index] follows pods, services and nodes in the informers of
// a manager, finds the pods of a service by the rarest of the labels that it selects by, and tells of the services
// that see a difference when a pod or a node changes, and of no others: a pod's new annotation wakes nobody.
package backend

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/reconcile"
	"github.com/bedplate/bedplate/reconcile/informer"
)

// Open returns an index that is current while the manager runs. Several controllers of one manager may share it.
// The manager's client must know Pod, Service and Node.
func Open(m *reconcile.Manager) (*Index, error) {
	x := &Index{s: newState(), hearing: map[*func(string)]struct{}{}}
	pods, err := reconcile.Informer[*corev1.Pod](m)
	if err != nil {
		return nil, fmt.Errorf("index pods by service: %w", err)
	}
	services, err := reconcile.Informer[*corev1.Service](m)
	if err != nil {
		return nil, fmt.Errorf("index pods by service: %w", err)
	}
	nodes, err := reconcile.Informer[*corev1.Node](m)
	if err != nil {
		return nil, fmt.Errorf("index pods by service: %w", err)
	}
	services.Handle(informer.Handler[*corev1.Service]{Change: func(c informer.Change[*corev1.Service]) { x.service(c.Key, c.New) }})
	nodes.Handle(informer.Handler[*corev1.Node]{Change: func(c informer.Change[*corev1.Node]) { x.node(c.Key, c.New) }})
	pods.Handle(informer.Handler[*corev1.Pod]{Change: func(c informer.Change[*corev1.Pod]) { x.pod(c.Key, c.New) }})
	return x, nil
}

// Watches make a controller of services work on those whose pods, or their nodes, changed in what matters. They
// also let it begin only when the index holds all pods and nodes.
func (x *Index) Watches() []reconcile.Watch {
	return []reconcile.Watch{
		reconcile.Watches(func(*corev1.Pod) []string { return nil }),
		reconcile.Watches(func(*corev1.Node) []string { return nil }),
		reconcile.Triggered(func(ctx context.Context, add func(string)) {
			stop := x.hear(add)
			defer stop()
			<-ctx.Done()
		}),
	}
}

// Times remembers, for each service, how old the changes are that have been written down, to tell how old the next
// ones are (the annotation endpoints.kubernetes.io/last-change-trigger-time). All methods may be called
// concurrently, but not for one service at a time.
type Times struct {
	mu   sync.Mutex
	seen map[string]seen
}

// seen are the times of a service's creation and of its pods' changes of readiness.
type seen struct {
	created time.Time
	pods    map[types.UID]readiness
}

// readiness is what a pod was since when; the API tells whole seconds, within which it may change.
type readiness struct {
	ready bool
	since time.Time
}

// Changed is when the first of the changes happened that have not been written down; zero if that can't be told.
// done says that they have been now.
func (t *Times) Changed(s *corev1.Service, pods []*Pod) (at time.Time, done func()) {
	t.mu.Lock()
	old, known := t.seen[apimachinery.KeyOf(s)]
	t.mu.Unlock()
	now := seen{s.CreationTimestamp.Time, make(map[types.UID]readiness, len(pods))}
	first := func(when time.Time) {
		if at.IsZero() || when.Before(at) {
			at = when
		}
	}
	for _, p := range pods {
		if p.Since.IsZero() {
			continue
		}
		is, was := readiness{p.Ready, p.Since}, old.pods[p.UID]
		now.pods[p.UID] = is
		if is.ready != was.ready || is.since.After(was.since) {
			first(p.Since)
		}
	}
	if now.created.After(old.created) {
		first(now.created)
	}
	if !known {
		at = now.created
	}
	return at, func() { t.keep(apimachinery.KeyOf(s), now) }
}

func (t *Times) keep(key string, now seen) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.seen == nil {
		t.seen = map[string]seen{}
	}
	t.seen[key] = now
}

// Forget forgets a service that is gone.
func (t *Times) Forget(key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.seen, key)
}
