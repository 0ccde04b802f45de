package client

import (
	"context"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bedplate/bedplate/apimachinery"
)

// Scope is what somebody up the stack wants of every call made under a context: a controller, of those that its
// reconcile function makes.
type Scope struct {
	// Fence is sent with writes that name none themselves.
	Fence string
	// Wrote is told of every write that succeeded, before the call returns. It may be called concurrently.
	Wrote func(Written)
}

// Written is a write that succeeded.
type Written struct {
	// Resource is what the object is stored under.
	Resource schema.GroupResource
	// Key is "namespace/name" or "name".
	Key string
	UID types.UID
	// ResourceVersion is that of the write; empty if the object is gone with it.
	ResourceVersion string
	// Deleted says that the write was a deletion: the object is gone, or has a deletionTimestamp.
	Deleted bool
}

type scopeKey struct{}

// WithScope returns a context under which all calls, of any client, heed s.
func WithScope(ctx context.Context, s Scope) context.Context {
	return context.WithValue(ctx, scopeKey{}, s)
}

func scopeOf(ctx context.Context) (Scope, bool) {
	s, ok := ctx.Value(scopeKey{}).(Scope)
	return s, ok
}

// FenceOf is the fence that calls under ctx carry by default; empty if there is none.
func FenceOf(ctx context.Context) string {
	s, _ := scopeOf(ctx)
	return s.Fence
}

func writes(verb string) bool {
	switch verb {
	case apimachinery.VerbGet, apimachinery.VerbList, apimachinery.VerbWatch:
		return false
	}
	return true
}

// wrote tells the context's scope of a write that answered with o.
func (r Resource[T]) wrote(ctx context.Context, c *call, o runtime.Object, deleted bool) {
	s, ok := scopeOf(ctx)
	if !ok || s.Wrote == nil || c.dryRun {
		return
	}
	m, err := meta.Accessor(o)
	if err != nil || m.GetResourceVersion() == "" && !deleted {
		return
	}
	s.Wrote(Written{
		Resource: r.name, Key: apimachinery.KeyOf(m), UID: m.GetUID(),
		ResourceVersion: m.GetResourceVersion(), Deleted: deleted,
	})
}
