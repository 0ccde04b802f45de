package client

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery"
)

// Delete asks for an object's end. When it returns, the object is gone, or has a deletionTimestamp and goes once
// its grace period and finalizers are done.
func (r Resource[T]) Delete(ctx context.Context, namespace, name string, opts ...Option) error {
	return r.op(apimachinery.VerbDelete, namespace, name, "", r.delete(ctx, namespace, name, opts))
}

func (r Resource[T]) delete(ctx context.Context, namespace, name string, opts []Option) error {
	if r.err != nil {
		return r.err
	}
	c, err := newCall(onDelete, opts)
	if err != nil {
		return err
	}
	q := r.request(ctx, apimachinery.VerbDelete, namespace, name, "", c)
	q.Options = c.deleteOptions()
	body, err := r.send(ctx, q, c)
	if err != nil {
		return err
	}
	return r.deleted(ctx, c, q, body)
}

// deleted tells the scope; the answer is the object as it is now, or a Status if it is gone.
func (r Resource[T]) deleted(ctx context.Context, c *call, q *apimachinery.Request, body []byte) error {
	if s, ok := scopeOf(ctx); !ok || s.Wrote == nil || c.dryRun {
		return nil
	}
	tm, err := apimachinery.TypeMetaOf(body)
	if err != nil {
		return err
	}
	o := &metav1.PartialObjectMetadata{}
	if tm.Kind == "Status" {
		var st metav1.Status
		if err := apimachinery.DecodeLoose(body, &st); err != nil {
			return err
		}
		o.Namespace, o.Name = q.Namespace, q.Name
		if st.Details != nil {
			o.UID = st.Details.UID
		}
		if c.uid != nil {
			o.UID = *c.uid
		}
	} else if err := apimachinery.DecodeLoose(body, o); err != nil {
		return err
	}
	r.wrote(ctx, c, o, true)
	return nil
}

// DeleteCollection deletes all objects that the options select, as [Resource.Delete] would one by one. It is not
// atomic: after an error, some may be gone.
func (r Resource[T]) DeleteCollection(ctx context.Context, opts ...Option) error {
	if r.err != nil {
		return r.op(apimachinery.VerbDeleteCollection, "", "", "", r.err)
	}
	c, err := newCall(onDeleteCollection, opts)
	if err != nil {
		return r.op(apimachinery.VerbDeleteCollection, "", "", "", err)
	}
	q := r.request(ctx, apimachinery.VerbDeleteCollection, c.namespace, "", "", c)
	q.Options = c.listOptions(false)
	o := c.deleteOptions()
	o.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "DeleteOptions"}
	q.Object = o
	_, err = r.send(ctx, q, c)
	return r.op(apimachinery.VerbDeleteCollection, c.namespace, "", "", err)
}
