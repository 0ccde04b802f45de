// Package namespace empties namespaces that are being deleted, and then lets them go.
//
// It knows the kinds of the client's registry. Pods go first, and nothing else before they have ended, so that
// nothing that they need is taken away under them.
package namespace

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/reconcile"
	"github.com/bedplate/bedplate/reconcile/queue"
)

// Add adds the controller to a manager whose client knows Namespace and all that may be in one.
func Add(m *reconcile.Manager) error {
	c := &controller{client: m.Client(), namespaces: client.For[*corev1.Namespace](m.Client())}
	return reconcile.Add(m, reconcile.Controller[*corev1.Namespace]{
		Name: "namespace", Reconcile: c.reconcile, Workers: 4,
		Queue: queue.Config{First: 20 * time.Millisecond, Last: 5 * time.Second},
	})
}

type controller struct {
	client     *client.Client
	namespaces client.Resource[*corev1.Namespace]
}

// Remains is what is left in a namespace.
type Remains struct {
	Resource string
	Count    int64
	// Finalizers counts the objects that wait for each finalizer.
	Finalizers map[string]int
}

func (c *controller) reconcile(ctx context.Context, ns *corev1.Namespace) (reconcile.Result, error) {
	if ns.DeletionTimestamp == nil || !slices.Contains(ns.Spec.Finalizers, corev1.FinalizerKubernetes) {
		return reconcile.Result{}, nil
	}
	left, failed := c.empty(ctx, ns.Name)
	if len(left) == 0 && failed == nil {
		return reconcile.Result{}, c.finalize(ctx, ns)
	}
	conditions := Conditions(ns.Status.Conditions, left, failed, time.Now())
	if !equality.Semantic.DeepEqual(conditions, ns.Status.Conditions) {
		ns.Status.Conditions = conditions
		if _, err := c.namespaces.UpdateStatus(ctx, ns); err != nil && !apierrors.IsNotFound(err) {
			return reconcile.Result{}, errors.Join(failed, err)
		}
	}
	return reconcile.Result{Again: true}, failed
}

// finalize lets the namespace go.
func (c *controller) finalize(ctx context.Context, ns *corev1.Namespace) error {
	ns.Spec.Finalizers = slices.DeleteFunc(ns.Spec.Finalizers, func(f corev1.FinalizerName) bool { return f == corev1.FinalizerKubernetes })
	_, err := c.namespaces.UpdateSub(ctx, "finalize", ns)
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// empty deletes what is in a namespace, and returns what is left of it.
func (c *controller) empty(ctx context.Context, namespace string) (left []Remains, err error) {
	pods, rest := c.contents()
	for _, stage := range [][]*apimachinery.Resource{pods, rest} {
		var errs []error
		for _, res := range stage {
			r, err := c.emptyOf(ctx, res, namespace)
			if r.Count > 0 {
				left = append(left, r)
			}
			errs = append(errs, err)
		}
		if err := errors.Join(errs...); err != nil || len(left) > 0 {
			return left, err
		}
	}
	return nil, nil
}

// contents are the resources that may be in a namespace: pods, and all others.
func (c *controller) contents() (pods, rest []*apimachinery.Resource) {
	for _, res := range c.client.Registry().All() {
		can := func(verb string) bool { return res.Verbs == nil || slices.Contains(res.Verbs, verb) }
		switch {
		case !res.Namespaced || res.Virtual != nil || !can(apimachinery.VerbList) || !can(apimachinery.VerbDelete):
		case res.Name.Group == "" && res.Name.Resource == "pods":
			pods = append(pods, res)
		default:
			rest = append(rest, res)
		}
	}
	return pods, rest
}

func (c *controller) emptyOf(ctx context.Context, res *apimachinery.Resource, namespace string) (Remains, error) {
	door := client.Metadata(c.client, res.Preferred().Resource(), true)
	if r, err := remains(ctx, door, namespace); err != nil || r.Count == 0 {
		return r, err
	}
	err := c.deleteAll(ctx, door, res, namespace)
	r, listErr := remains(ctx, door, namespace)
	return r, errors.Join(err, listErr)
}

func (c *controller) deleteAll(ctx context.Context, door client.Resource[*metav1.PartialObjectMetadata], res *apimachinery.Resource, namespace string) error {
	background := client.Propagation(metav1.DeletePropagationBackground)
	if res.Verbs == nil || slices.Contains(res.Verbs, apimachinery.VerbDeleteCollection) {
		err := door.DeleteCollection(ctx, client.InNamespace(namespace), background)
		if !apierrors.IsMethodNotSupported(err) && !apierrors.IsNotFound(err) {
			return err
		}
	}
	for o, err := range door.All(ctx, client.InNamespace(namespace)) {
		if err == nil {
			err = door.Delete(ctx, namespace, o.Name, client.IfUID(o.UID), background)
		}
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return err
		}
	}
	return nil
}

// remains counts by the first page: there is no need to see them all.
func remains(ctx context.Context, door client.Resource[*metav1.PartialObjectMetadata], namespace string) (Remains, error) {
	r := Remains{Resource: door.Name().String(), Finalizers: map[string]int{}}
	l, err := door.List(ctx, client.InNamespace(namespace), client.Limit(500))
	if apierrors.IsNotFound(err) {
		return r, nil // its kind is not served any more
	}
	if err != nil {
		return r, err
	}
	r.Count = int64(len(l.Items))
	if l.Remaining != nil {
		r.Count += *l.Remaining
	}
	for _, o := range l.Items {
		for _, f := range o.Finalizers {
			r.Finalizers[f]++
		}
	}
	return r, nil
}

// Conditions are those of a namespace that is not empty yet, after the ones that it had. It is a pure function.
func Conditions(had []corev1.NamespaceCondition, left []Remains, failed error, now time.Time) []corev1.NamespaceCondition {
	var resources, finalizers []string
	count := map[string]int{}
	for _, r := range left {
		resources = append(resources, fmt.Sprintf("%s has %d resource instances", r.Resource, r.Count))
		for f, n := range r.Finalizers {
			count[f] += n
		}
	}
	for f, n := range count {
		finalizers = append(finalizers, fmt.Sprintf("%s in %d resource instances", f, n))
	}
	slices.Sort(resources)
	slices.Sort(finalizers)
	out := slices.Clone(had)
	out = set(out, corev1.NamespaceDeletionContentFailure, failed != nil, "ContentDeletionFailed", "ContentDeleted", "All content successfully deleted, may be waiting on finalization", func() string {
		return "Failed to delete all resource types, " + failed.Error()
	}, now)
	out = set(out, corev1.NamespaceContentRemaining, len(resources) > 0, "SomeResourcesRemain", "ContentRemoved", "All content successfully removed", func() string {
		return "Some resources are remaining: " + strings.Join(resources, ", ")
	}, now)
	return set(out, corev1.NamespaceFinalizersRemaining, len(finalizers) > 0, "SomeFinalizersRemain", "ContentHasNoFinalizers", "All content-preserving finalizers finished", func() string {
		return "Some content in the namespace has finalizers remaining: " + strings.Join(finalizers, ", ")
	}, now)
}

// set sets a condition to one of two states.
func set(all []corev1.NamespaceCondition, t corev1.NamespaceConditionType, bad bool, badReason, goodReason, good string, why func() string, now time.Time) []corev1.NamespaceCondition {
	c := corev1.NamespaceCondition{Type: t, Status: corev1.ConditionFalse, Reason: goodReason, Message: good}
	if bad {
		c.Status, c.Reason, c.Message = corev1.ConditionTrue, badReason, why()
	}
	at := slices.IndexFunc(all, func(o corev1.NamespaceCondition) bool { return o.Type == t })
	if at < 0 {
		c.LastTransitionTime = metav1.NewTime(now)
		return append(all, c)
	}
	c.LastTransitionTime = all[at].LastTransitionTime
	if all[at].Status != c.Status {
		c.LastTransitionTime = metav1.NewTime(now)
	}
	all[at] = c
	return all
}
