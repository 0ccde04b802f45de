package client

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bedplate/bedplate/apimachinery"
)

// Create stores a new object and returns it as the server made it: named (where it had a generateName), with
// defaults, uid and resourceVersion. o is not changed.
func (r Resource[T]) Create(ctx context.Context, o T, opts ...Option) (T, error) {
	out, err := r.store(ctx, apimachinery.VerbCreate, o, "", opts)
	return out, r.op(apimachinery.VerbCreate, o.GetNamespace(), o.GetName(), "", err)
}

// Update replaces an object and returns what is stored now. With a resourceVersion in o, it is a Conflict if the
// object changed since; without, the last writer wins. o is not changed.
func (r Resource[T]) Update(ctx context.Context, o T, opts ...Option) (T, error) {
	out, err := r.store(ctx, apimachinery.VerbUpdate, o, "", opts)
	return out, r.op(apimachinery.VerbUpdate, o.GetNamespace(), o.GetName(), "", err)
}

// UpdateStatus is [Resource.Update] of the status alone.
func (r Resource[T]) UpdateStatus(ctx context.Context, o T, opts ...Option) (T, error) {
	return r.UpdateSub(ctx, "status", o, opts...)
}

// UpdateSub is [Resource.Update] through a subresource that takes the object itself (status, finalize, resize).
func (r Resource[T]) UpdateSub(ctx context.Context, sub string, o T, opts ...Option) (T, error) {
	out, err := r.store(ctx, apimachinery.VerbUpdate, o, sub, opts)
	return out, r.op(apimachinery.VerbUpdate, o.GetNamespace(), o.GetName(), sub, err)
}

// writing is the options of a write, in the name of the client's field manager where they give none.
func (r Resource[T]) writing(on verbs, opts []Option) (*call, error) {
	c, err := newCall(on, opts)
	if err == nil && c.manager == "" && on&onApply == 0 {
		c.manager = r.c.manager
	}
	return c, err
}

func (r Resource[T]) store(ctx context.Context, verb string, o T, sub string, opts []Option) (out T, err error) {
	if err := r.whole(); err != nil {
		return out, err
	}
	on, name := onCreate, ""
	if verb == apimachinery.VerbUpdate {
		on, name = onUpdate, o.GetName()
	}
	c, err := r.writing(on, opts)
	if err != nil {
		return out, err
	}
	q := r.request(ctx, verb, o.GetNamespace(), name, sub, c)
	q.Options, q.ContentType = c.storeOptions(verb), apimachinery.JSON
	if q.Body, err = r.encode(o, r.kind); err != nil {
		return out, err
	}
	return r.stored(ctx, q, c)
}

// stored sends a write whose answer is the object.
func (r Resource[T]) stored(ctx context.Context, q *apimachinery.Request, c *call) (out T, err error) {
	if out, err = r.one(ctx, q, c); err == nil {
		r.wrote(ctx, c, out, false)
	}
	return out, err
}

// Patch changes an object by a patch: types.JSONPatchType, MergePatchType, StrategicMergePatchType, or for
// server-side apply ApplyYAMLPatchType (then with FieldManager). It returns what is stored now.
func (r Resource[T]) Patch(ctx context.Context, namespace, name string, t types.PatchType, patch []byte, opts ...Option) (T, error) {
	return r.PatchSub(ctx, namespace, name, "", t, patch, opts...)
}

// PatchStatus is [Resource.Patch] of the status alone.
func (r Resource[T]) PatchStatus(ctx context.Context, namespace, name string, t types.PatchType, patch []byte, opts ...Option) (T, error) {
	return r.PatchSub(ctx, namespace, name, "status", t, patch, opts...)
}

// PatchSub is [Resource.Patch] through a subresource that answers with the object itself.
func (r Resource[T]) PatchSub(ctx context.Context, namespace, name, sub string, t types.PatchType, patch []byte, opts ...Option) (T, error) {
	on := onPatch
	if t == types.ApplyYAMLPatchType {
		on |= onApply
	}
	out, err := r.patch(ctx, namespace, name, sub, t, patch, on, opts)
	return out, r.op(apimachinery.VerbPatch, namespace, name, sub, err)
}

func (r Resource[T]) patch(ctx context.Context, namespace, name, sub string, t types.PatchType, patch []byte, on verbs, opts []Option) (out T, err error) {
	if r.err != nil {
		return out, r.err
	}
	c, err := r.writing(on, opts)
	if err != nil {
		return out, err
	}
	q := r.request(ctx, apimachinery.VerbPatch, namespace, name, sub, c)
	q.Options, q.ContentType, q.Body = c.storeOptions(apimachinery.VerbPatch), string(t), patch
	return r.stored(ctx, q, c)
}

// Apply is server-side apply: manager wants the fields that o has, and those that it wanted before and are no
// longer there go. What another manager owns is a Conflict, unless [Force] is given. o's managedFields,
// resourceVersion and uid are left out, and o is not changed.
//
// Zero values that a Go type always encodes count as wanted; use [Resource.ApplyBytes] with an apply
// configuration or plain JSON where that matters.
func (r Resource[T]) Apply(ctx context.Context, o T, manager string, opts ...Option) (T, error) {
	var out T
	body, err := r.applied(o)
	if err != nil {
		return out, r.op("apply", o.GetNamespace(), o.GetName(), "", err)
	}
	return r.ApplyBytes(ctx, o.GetNamespace(), o.GetName(), body, manager, opts...)
}

// ApplyBytes is [Resource.Apply] of JSON or YAML with apiVersion and kind.
func (r Resource[T]) ApplyBytes(ctx context.Context, namespace, name string, config []byte, manager string, opts ...Option) (T, error) {
	out, err := r.patch(ctx, namespace, name, "", types.ApplyYAMLPatchType, config, onApply, append(opts[:len(opts):len(opts)], FieldManager(manager)))
	return out, r.op("apply", namespace, name, "", err)
}

func (r Resource[T]) applied(o T) ([]byte, error) {
	if err := r.whole(); err != nil {
		return nil, err
	}
	c := o.DeepCopyObject().(T)
	c.SetManagedFields(nil)
	c.SetResourceVersion("")
	c.SetUID("")
	c.SetCreationTimestamp(metav1.Time{})
	return r.encode(c, r.kind)
}
