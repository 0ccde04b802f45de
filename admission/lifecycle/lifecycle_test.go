package lifecycle_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bedplate/bedplate/admission/lifecycle"
	"github.com/bedplate/bedplate/apimachinery"
)

func namespaces(_ context.Context, name string) (*corev1.Namespace, error) {
	n := &corev1.Namespace{}
	n.Name = name
	switch name {
	case "going":
		n.Status.Phase = corev1.NamespaceTerminating
	case "missing":
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, name)
	case "broken":
		return nil, errors.New("boom")
	}
	return n, nil
}

func TestNamespaceLifecycle(t *testing.T) {
	p := lifecycle.New(lifecycle.NamespacesFunc(namespaces), "kept")
	none := func(err error) bool { return err == nil }
	for _, c := range []struct {
		op, group, resource, namespace, name string
		want                                 func(error) bool
	}{
		{"CREATE", "", "pods", "here", "p", none},
		{"CREATE", "", "pods", "going", "p", func(err error) bool {
			return apierrors.IsForbidden(err) && apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause)
		}},
		{"CREATE", "", "pods", "missing", "p", apierrors.IsNotFound},
		{"CREATE", "", "pods", "broken", "p", func(err error) bool { return err != nil && !apierrors.IsNotFound(err) }},
		{"UPDATE", "", "pods", "going", "p", none},
		{"UPDATE", "", "pods", "missing", "p", apierrors.IsNotFound},
		{"DELETE", "", "pods", "missing", "p", none},
		{"CONNECT", "", "pods", "missing", "p", none},
		{"CREATE", "", "nodes", "", "n", none},
		{"CREATE", "", "namespaces", "", "missing", none},
		{"UPDATE", "", "namespaces", "missing", "missing", none},
		{"CREATE", "authorization.k8s.io", "localsubjectaccessreviews", "missing", "", none},
		{"DELETE", "", "namespaces", "", "here", none},
		{"DELETE", "", "namespaces", "", "default", apierrors.IsForbidden},
		{"DELETE", "", "namespaces", "", "kube-system", apierrors.IsForbidden},
		{"DELETE", "", "namespaces", "", "kube-public", apierrors.IsForbidden},
		{"DELETE", "", "namespaces", "", "kept", apierrors.IsForbidden},
		{"DELETE", "example.org", "namespaces", "", "default", none},
	} {
		err := p.Validate.Validate(t.Context(), &apimachinery.Admission{
			Operation: c.op, Resource: schema.GroupVersionResource{Group: c.group, Version: "v1", Resource: c.resource}, Namespace: c.namespace, Name: c.name,
		})
		require.True(t, c.want(err), "%+v: %v", c, err)
	}
}

func Example() {
	p := lifecycle.New(lifecycle.NamespacesFunc(namespaces))
	err := p.Validate.Validate(context.Background(), &apimachinery.Admission{
		Operation: "CREATE", Resource: corev1.SchemeGroupVersion.WithResource("pods"), Namespace: "going", Name: "web",
	})
	fmt.Println(err)
	// Output: pods "web" is forbidden: unable to create new content in namespace going because it is being terminated
}
