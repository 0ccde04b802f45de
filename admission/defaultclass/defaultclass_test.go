package defaultclass_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/admission/defaultclass"
	"github.com/bedplate/bedplate/apimachinery"
)

type classes struct {
	storage []*storagev1.StorageClass
	ingress []*networkingv1.IngressClass
	err     error
}

func (c classes) StorageClasses(context.Context) ([]*storagev1.StorageClass, error) {
	return c.storage, c.err
}

func (c classes) IngressClasses(context.Context) ([]*networkingv1.IngressClass, error) {
	return c.ingress, c.err
}

func meta(name, annotation string, seconds int64) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.Time{Time: time.Unix(seconds, 0)}, Annotations: map[string]string{annotation: "true"}}
}

func storageClass(name, annotation string, seconds int64) *storagev1.StorageClass {
	return &storagev1.StorageClass{ObjectMeta: meta(name, annotation, seconds)}
}

const (
	current = "storageclass.kubernetes.io/is-default-class"
	older   = "storageclass.beta.kubernetes.io/is-default-class"
)

func admit(p apimachinery.Plugin, op, sub string, o apimachinery.Object) error {
	return p.Mutate.Mutate(context.Background(), &apimachinery.Admission{Operation: op, Sub: sub, Object: o})
}

func TestClaims(t *testing.T) {
	for name, c := range map[string]struct {
		have []*storagev1.StorageClass
		want string
	}{
		"none":       {[]*storagev1.StorageClass{storageClass("a", "x", 1)}, ""},
		"one":        {[]*storagev1.StorageClass{storageClass("a", "x", 1), storageClass("b", current, 1)}, "b"},
		"the newest": {[]*storagev1.StorageClass{storageClass("a", current, 1), storageClass("b", older, 2)}, "b"},
		"as old":     {[]*storagev1.StorageClass{storageClass("b", current, 1), storageClass("a", current, 1)}, "a"},
	} {
		t.Run(name, func(t *testing.T) {
			claim := &corev1.PersistentVolumeClaim{}
			require.NoError(t, admit(defaultclass.ForClaims(classes{storage: c.have}), "CREATE", "", claim))
			if c.want == "" {
				require.Nil(t, claim.Spec.StorageClassName)
				return
			}
			require.Equal(t, c.want, *claim.Spec.StorageClassName)
		})
	}
}

func TestClassesThatAreNamedStay(t *testing.T) {
	p := defaultclass.ForClaims(classes{err: errors.New("not asked")})
	require.NoError(t, admit(p, "CREATE", "", &corev1.PersistentVolumeClaim{Spec: corev1.PersistentVolumeClaimSpec{StorageClassName: new(string)}}))
	annotated := &corev1.PersistentVolumeClaim{ObjectMeta: meta("a", corev1.BetaStorageClassAnnotation, 1)}
	require.NoError(t, admit(p, "CREATE", "", annotated))
	require.NoError(t, admit(p, "UPDATE", "", &corev1.PersistentVolumeClaim{}))
	require.NoError(t, admit(p, "CREATE", "status", &corev1.PersistentVolumeClaim{}))
	require.NoError(t, admit(p, "CREATE", "", &corev1.Pod{}))
	require.ErrorContains(t, admit(p, "CREATE", "", &corev1.PersistentVolumeClaim{}), "not asked")

	q := defaultclass.ForIngresses(classes{err: errors.New("not asked")})
	require.NoError(t, admit(q, "CREATE", "", &networkingv1.Ingress{Spec: networkingv1.IngressSpec{IngressClassName: new(string)}}))
	require.NoError(t, admit(q, "CREATE", "", &networkingv1.Ingress{ObjectMeta: meta("a", "kubernetes.io/ingress.class", 1)}))
	require.NoError(t, admit(q, "UPDATE", "", &networkingv1.Ingress{}))
	require.ErrorContains(t, admit(q, "CREATE", "", &networkingv1.Ingress{}), "not asked")
}

func Example() {
	class := &networkingv1.IngressClass{ObjectMeta: meta("nginx", networkingv1.AnnotationIsDefaultIngressClass, 1)}
	i := &networkingv1.Ingress{}
	err := admit(defaultclass.ForIngresses(classes{ingress: []*networkingv1.IngressClass{class}}), "CREATE", "", i)
	fmt.Println(*i.Spec.IngressClassName, err)
	// Output: nginx <nil>
}
