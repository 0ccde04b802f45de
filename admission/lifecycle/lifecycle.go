// Package lifecycle is the admission plugin that keeps objects out of namespaces that don't exist or are going,
// and some namespaces from being deleted at all.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bedplate/bedplate/apimachinery"
)

// Name is the plugin's.
const Name = "NamespaceLifecycle"

// Namespaces finds a namespace as it is now; an apierrors NotFound if there is none. The result is only read.
type Namespaces interface {
	Namespace(ctx context.Context, name string) (*corev1.Namespace, error)
}

// NamespacesFunc adapts a function to [Namespaces].
type NamespacesFunc func(ctx context.Context, name string) (*corev1.Namespace, error)

// Namespace calls f.
func (f NamespacesFunc) Namespace(ctx context.Context, name string) (*corev1.Namespace, error) {
	return f(ctx, name)
}

// New returns the plugin. default, kube-system, kube-public and the namespaces of keep can't be deleted.
func New(n Namespaces, keep ...string) apimachinery.Plugin {
	p := &plugin{n, append([]string{metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic}, keep...)}
	return apimachinery.Plugin{Name: Name, Validate: p}
}

type plugin struct {
	namespaces Namespaces
	keep       []string
}

// Validate implements [apimachinery.Validator].
func (p *plugin) Validate(ctx context.Context, a *apimachinery.Admission) error {
	isNamespace := a.Resource.Group == "" && a.Resource.Resource == "namespaces"
	switch {
	case isNamespace && a.Operation == "DELETE" && slices.Contains(p.keep, a.Name):
		return apierrors.NewForbidden(a.Resource.GroupResource(), a.Name, errors.New("this namespace may not be deleted"))
	case isNamespace, a.Namespace == "", a.Operation != "CREATE" && a.Operation != "UPDATE", isReview(a.Resource):
		return nil
	}
	n, err := p.namespaces.Namespace(ctx, a.Namespace)
	if apierrors.IsNotFound(err) {
		return apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, a.Namespace)
	}
	if err != nil {
		return fmt.Errorf("look for namespace %s: %w", a.Namespace, err)
	}
	if a.Operation == "CREATE" && (n.Status.Phase == corev1.NamespaceTerminating || n.DeletionTimestamp != nil) {
		return terminating(a)
	}
	return nil
}

// isReview says whether the object asks about a namespace instead of lying in it.
func isReview(r schema.GroupVersionResource) bool {
	return r.Group == "authorization.k8s.io" && r.Resource == "localsubjectaccessreviews"
}

func terminating(a *apimachinery.Admission) error {
	err := apierrors.NewForbidden(a.Resource.GroupResource(), a.Name,
		fmt.Errorf("unable to create new content in namespace %s because it is being terminated", a.Namespace))
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{
		Type: corev1.NamespaceTerminatingCause, Message: fmt.Sprintf("namespace %s is being terminated", a.Namespace), Field: "metadata.namespace",
	})
	return err
}
