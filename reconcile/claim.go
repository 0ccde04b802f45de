package reconcile

import (
	"context"
	"fmt"
	"iter"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
)

// Claimed are objects by what their owner's selector makes of them. They are shared: nobody may change them.
type Claimed[T apimachinery.Object] struct {
	Owned   []T // controlled by the owner, and selected
	Adopt   []T // selected, and controlled by nobody
	Release []T // controlled by the owner, but not selected any more
}

// Claim sorts objects by what an owner with a selector has to do about them. An owner that is being deleted takes
// nothing and lets nothing go; what is being deleted is not taken.
func Claim[T apimachinery.Object](owner metav1.Object, selector labels.Selector, objects ...iter.Seq[T]) (c Claimed[T]) {
	going := owner.GetDeletionTimestamp() != nil
	for _, seq := range objects {
		for o := range seq {
			ref, match := metav1.GetControllerOfNoCopy(o), selector.Matches(labels.Set(o.GetLabels()))
			switch {
			case o.GetNamespace() != owner.GetNamespace():
			case ref == nil && match && !going && o.GetDeletionTimestamp() == nil:
				c.Adopt = append(c.Adopt, o)
			case ref == nil || ref.UID != owner.GetUID():
			case match:
				c.Owned = append(c.Owned, o)
			case !going:
				c.Release = append(c.Release, o)
			}
		}
	}
	return c
}

// Settle adopts and releases what c says, and adds the adopted to c.Owned. Before it adopts anything, it makes sure
// by asking the API that the owner is still there, with the same uid, and not being deleted. owners and r are the
// doors to the owner and to the claimed.
func Settle[O, T apimachinery.Object](ctx context.Context, owners client.Resource[O], owner O, r client.Resource[T], c *Claimed[T]) error {
	if len(c.Adopt) > 0 {
		live, err := owners.Get(ctx, owner.GetNamespace(), owner.GetName())
		if err != nil {
			return err
		}
		if live.GetUID() != owner.GetUID() || live.GetDeletionTimestamp() != nil {
			return fmt.Errorf("adopt for %s: it has been deleted meanwhile", apimachinery.KeyOf(owner))
		}
	}
	for _, o := range c.Adopt {
		ref := metav1.NewControllerRef(owner, owner.GetObjectKind().GroupVersionKind())
		now, err := patchOwners(ctx, r, o, ref)
		if err != nil {
			return err
		}
		c.Owned = append(c.Owned, now)
	}
	for _, o := range c.Release {
		_, err := patchOwners(ctx, r, o, map[string]any{"$patch": "delete", "uid": owner.GetUID()})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsInvalid(err) {
			return err
		}
	}
	return nil
}

func patchOwners[T apimachinery.Object](ctx context.Context, r client.Resource[T], o T, ref any) (T, error) {
	patch, err := apimachinery.Encode(map[string]any{"metadata": map[string]any{"uid": o.GetUID(), "ownerReferences": []any{ref}}})
	if err != nil {
		return o, err
	}
	return r.Patch(ctx, o.GetNamespace(), o.GetName(), types.StrategicMergePatchType, patch)
}

// Orphans is the index, for [IndexOrphans], of objects that nobody controls, by their namespace.
const Orphans = "metadata.orphans"

// IndexOrphans adds the index [Orphans] to the manager's informer of T, if it is not there.
func IndexOrphans[T apimachinery.Object](m *Manager) error {
	i, err := Informer[T](m)
	if err != nil {
		return err
	}
	return i.EnsureIndex(Orphans, func(o T) []string {
		if metav1.GetControllerOfNoCopy(o) != nil {
			return nil
		}
		return []string{o.GetNamespace()}
	})
}
