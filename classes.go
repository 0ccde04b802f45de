package bedplate

import (
	"context"

	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/apimachinery/kinds/scheduling"
	"github.com/bedplate/bedplate/storage"
)

// all returns the shared objects of a cluster-wide resource: as they are now if newest is set, else as the cache has
// them.
func all[T apimachinery.Object](ctx context.Context, l *lookup, gvr schema.GroupVersionResource, newest bool) ([]T, error) {
	table, ok := l.server.Table(gvr.GroupResource())
	if !ok {
		return nil, nil
	}
	at := int64(storage.Cached)
	if newest {
		at = 0
	}
	s, err := table.Snapshot(ctx, at, false)
	if err != nil {
		return nil, err
	}
	out := make([]T, 0, s.Len())
	for e := range s.All(storage.Filter{}, "") {
		o, err := l.server.Object(gvr, e)
		if err != nil {
			return nil, err
		}
		out = append(out, o.(T))
	}
	return out, nil
}

var priorityClasses = schedulingv1.SchemeGroupVersion.WithResource("priorityclasses")

// PriorityClass implements admission/priority.Classes.
func (l *lookup) PriorityClass(ctx context.Context, name string) (*schedulingv1.PriorityClass, error) {
	return get[*schedulingv1.PriorityClass](ctx, l, priorityClasses, "", name)
}

// PriorityClasses implements admission/priority.Classes.
func (l *lookup) PriorityClasses(ctx context.Context, newest bool) ([]*schedulingv1.PriorityClass, error) {
	return all[*schedulingv1.PriorityClass](ctx, l, priorityClasses, newest)
}

// RuntimeClass implements admission/runtimeclass.Classes.
func (l *lookup) RuntimeClass(ctx context.Context, name string) (*nodev1.RuntimeClass, error) {
	return get[*nodev1.RuntimeClass](ctx, l, nodev1.SchemeGroupVersion.WithResource("runtimeclasses"), "", name)
}

// StorageClasses implements admission/defaultclass.StorageClasses.
func (l *lookup) StorageClasses(ctx context.Context) ([]*storagev1.StorageClass, error) {
	return all[*storagev1.StorageClass](ctx, l, storagev1.SchemeGroupVersion.WithResource("storageclasses"), true)
}

// IngressClasses implements admission/defaultclass.IngressClasses.
func (l *lookup) IngressClasses(ctx context.Context) ([]*networkingv1.IngressClass, error) {
	return all[*networkingv1.IngressClass](ctx, l, networkingv1.SchemeGroupVersion.WithResource("ingressclasses"), true)
}

// bootstrapPriorities makes the PriorityClasses that every cluster has, each by way of do.
func (p *ControlPlane) bootstrapPriorities(ctx context.Context, do func(func() error)) {
	for _, c := range scheduling.SystemPriorityClasses() {
		do(func() error {
			return ensure(ctx, p.security.lookup, client.For[*schedulingv1.PriorityClass](p.Client()), c, nil)
		})
	}
}
