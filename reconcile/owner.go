package reconcile

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/reconcile/informer"
)

// ByController is the index, on every informer of a manager, of objects by the uid of the object that controls them.
const ByController = "metadata.controller.uid"

func controllerUID[T apimachinery.Object](o T) []string {
	if ref := metav1.GetControllerOfNoCopy(o); ref != nil {
		return []string{string(ref.UID)}
	}
	return nil
}

// Owned yields the objects in a manager's informer that owner controls. They are shared: nobody may change them.
func Owned[T apimachinery.Object](i *informer.Informer[T], owner metav1.Object) iter.Seq[T] {
	return i.ByIndex(ByController, string(owner.GetUID()))
}

// Own makes owner the controller of child, in child's ownerReferences: child then goes with it, and [Owns] leads
// from child to owner. owner must come from the API. It is an error if another object controls child, or if their
// scopes don't fit: a namespaced owner owns within its namespace alone.
func Own(owner apimachinery.Object, child metav1.Object) error {
	kind := owner.GetObjectKind().GroupVersionKind()
	switch {
	case kind.Kind == "" || owner.GetUID() == "":
		return fmt.Errorf("own %s: the owner %s has no kind or uid: take it from the API", apimachinery.KeyOf(child), apimachinery.KeyOf(owner))
	case owner.GetNamespace() != "" && owner.GetNamespace() != child.GetNamespace():
		return fmt.Errorf("own %s: the owner %s is in another namespace", apimachinery.KeyOf(child), apimachinery.KeyOf(owner))
	}
	if have := metav1.GetControllerOfNoCopy(child); have != nil && have.UID != owner.GetUID() {
		return fmt.Errorf("own %s: %s %s controls it already", apimachinery.KeyOf(child), have.Kind, have.Name)
	}
	refs := slices.DeleteFunc(slices.Clone(child.GetOwnerReferences()), func(r metav1.OwnerReference) bool { return r.UID == owner.GetUID() })
	child.SetOwnerReferences(append(refs, *metav1.NewControllerRef(owner, kind)))
	return nil
}

// Apply makes child what it should be, with owner as its controller, by server-side apply under the manager's name,
// and returns it as it is now. What others wanted of these fields gives way. Where nothing differs nothing is written.
func Apply[T apimachinery.Object](ctx context.Context, c *client.Client, owner apimachinery.Object, child T, manager string) (T, error) {
	if err := Own(owner, child); err != nil {
		return child, err
	}
	return client.For[T](c).Apply(ctx, child, manager, client.Force())
}

// Finalize keeps a finalizer on an object while it lives, and calls cleanup before it goes. going says that the
// object is being deleted: there is nothing more to do for it. cleanup may be called more than once, and must find
// its work done in part or whole; while it returns an error, the object stays.
//
//	going, err := reconcile.Finalize(ctx, databases, db, "example.org/backup", func(ctx context.Context) error { … })
//	if going || err != nil {
//		return reconcile.Result{}, err
//	}
func Finalize[T apimachinery.Object](ctx context.Context, r client.Resource[T], o T, name string, cleanup func(ctx context.Context) error) (going bool, err error) {
	has := slices.Contains(o.GetFinalizers(), name)
	if o.GetDeletionTimestamp() == nil {
		if !has {
			err = setFinalizers(ctx, r, o, append(slices.Clone(o.GetFinalizers()), name))
		}
		return false, err
	}
	if !has {
		return true, nil
	}
	if err := cleanup(ctx); err != nil {
		return true, fmt.Errorf("clean up for %s: %w", name, err)
	}
	rest := slices.DeleteFunc(slices.Clone(o.GetFinalizers()), func(f string) bool { return f == name })
	err = setFinalizers(ctx, r, o, rest)
	if apierrors.IsNotFound(err) {
		err = nil
	}
	return true, err
}

// setFinalizers writes the list if the object is still as it is in o; then o has its new resourceVersion too.
func setFinalizers[T apimachinery.Object](ctx context.Context, r client.Resource[T], o T, list []string) error {
	var patch struct {
		Metadata struct {
			Finalizers      []string `json:"finalizers"`
			ResourceVersion string   `json:"resourceVersion"`
			UID             string   `json:"uid"`
		} `json:"metadata"`
	}
	if o.GetUID() == "" {
		return errors.New("set finalizers: the object has no uid: take it from the API")
	}
	patch.Metadata.Finalizers, patch.Metadata.ResourceVersion, patch.Metadata.UID = list, o.GetResourceVersion(), string(o.GetUID())
	if patch.Metadata.Finalizers == nil {
		patch.Metadata.Finalizers = []string{}
	}
	body, err := apimachinery.Encode(patch)
	if err != nil {
		return err
	}
	now, err := r.Patch(ctx, o.GetNamespace(), o.GetName(), "application/merge-patch+json", body)
	if err == nil {
		o.SetFinalizers(now.GetFinalizers())
		o.SetResourceVersion(now.GetResourceVersion())
	}
	return err
}
