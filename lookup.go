package bedplate

import (
	"context"
	"errors"
	"iter"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/server"
	"github.com/bedplate/bedplate/rbac"
	"github.com/bedplate/bedplate/storage"
)

// lookup reads objects straight from the server's tables, for the parts of the security chain that are asked at
// every request. The server is set once, before it serves.
type lookup struct{ server *server.Server }

// get returns a shared object: from the cache if it is there, else as the store has it now.
func get[T apimachinery.Object](ctx context.Context, l *lookup, gvr schema.GroupVersionResource, namespace, name string) (T, error) {
	var none T
	table, ok := l.server.Table(gvr.GroupResource())
	if !ok {
		return none, apierrors.NewNotFound(gvr.GroupResource(), name)
	}
	key := apimachinery.Key(namespace, name)
	e, err := table.Get(ctx, key, storage.Cached)
	if errors.Is(err, storage.ErrNotFound) {
		e, err = table.Get(ctx, key, 0)
	}
	if errors.Is(err, storage.ErrNotFound) {
		return none, apierrors.NewNotFound(gvr.GroupResource(), name)
	}
	if err != nil {
		return none, err
	}
	o, err := l.server.Object(gvr, e)
	if err != nil {
		return none, err
	}
	return o.(T), nil
}

// Do implements apimachinery.Doer, as the API server itself, which may do anything.
func (l *lookup) Do(ctx context.Context, r *apimachinery.Request) (*apimachinery.Response, error) {
	return l.server.As(apimachinery.User{Name: "system:apiserver", Groups: []string{"system:masters", rbac.AuthenticatedGroup}}).Do(ctx, r)
}

func resourceV1(plural string) schema.GroupVersionResource {
	return corev1.SchemeGroupVersion.WithResource(plural)
}

// Namespace implements admission/lifecycle.Namespaces.
func (l *lookup) Namespace(ctx context.Context, name string) (*corev1.Namespace, error) {
	return get[*corev1.Namespace](ctx, l, resourceV1("namespaces"), "", name)
}

// ServiceAccount implements admission/serviceaccount.Accounts.
func (l *lookup) ServiceAccount(ctx context.Context, namespace, name string) (*corev1.ServiceAccount, error) {
	return get[*corev1.ServiceAccount](ctx, l, resourceV1("serviceaccounts"), namespace, name)
}

// Pod implements admission/noderestriction.Lookup.
func (l *lookup) Pod(ctx context.Context, namespace, name string) (*corev1.Pod, error) {
	return get[*corev1.Pod](ctx, l, resourceV1("pods"), namespace, name)
}

// Node implements admission/noderestriction.Lookup.
func (l *lookup) Node(ctx context.Context, name string) (*corev1.Node, error) {
	return get[*corev1.Node](ctx, l, resourceV1("nodes"), "", name)
}

// Get implements rbac/authn.Getter: what tokens are bound to.
func (l *lookup) Get(ctx context.Context, kind, namespace, name string) (apimachinery.Object, error) {
	switch kind {
	case "ServiceAccount":
		return l.ServiceAccount(ctx, namespace, name)
	case "Pod":
		return l.Pod(ctx, namespace, name)
	case "Node":
		return l.Node(ctx, name)
	case "Secret":
		return get[*corev1.Secret](ctx, l, resourceV1("secrets"), namespace, name)
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: kind}, name)
}

// PodsOn implements rbac/node.Pods.
func (l *lookup) PodsOn(node string) iter.Seq[*corev1.Pod] {
	return func(yield func(*corev1.Pod) bool) {
		pods := resourceV1("pods")
		table, ok := l.server.Table(pods.GroupResource())
		if !ok {
			return
		}
		s, err := table.Snapshot(context.Background(), storage.Cached, false)
		if err != nil {
			return // nothing is known of the node's pods: it may read nothing
		}
		for e := range s.ByIndex("spec.nodeName", node) {
			o, err := l.server.Object(pods, e)
			if err != nil {
				continue
			}
			if !yield(o.(*corev1.Pod)) {
				return
			}
		}
	}
}
