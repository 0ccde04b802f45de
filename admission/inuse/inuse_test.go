package inuse_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"

	"github.com/bedplate/bedplate/admission/inuse"
	"github.com/bedplate/bedplate/apimachinery"
)

func TestFinalizers(t *testing.T) {
	for _, c := range []struct {
		o    apimachinery.Object
		op   string
		sub  string
		want []string
	}{
		{&corev1.PersistentVolumeClaim{}, "CREATE", "", []string{inuse.Claim}},
		{&corev1.PersistentVolume{}, "CREATE", "", []string{inuse.Volume}},
		{&storagev1.VolumeAttributesClass{}, "CREATE", "", []string{inuse.Class}},
		{&corev1.PersistentVolumeClaim{}, "UPDATE", "", nil},
		{&corev1.PersistentVolumeClaim{}, "CREATE", "status", nil},
		{&corev1.Pod{}, "CREATE", "", nil},
	} {
		p := inuse.New()
		for range 2 { // idempotent
			require.NoError(t, p.Mutate.Mutate(t.Context(), &apimachinery.Admission{Operation: c.op, Sub: c.sub, Object: c.o}))
		}
		require.Equal(t, c.want, c.o.GetFinalizers())
	}
	require.NoError(t, inuse.New().Mutate.Mutate(t.Context(), &apimachinery.Admission{Operation: "DELETE"}))
}

func Example() {
	claim := &corev1.PersistentVolumeClaim{}
	err := inuse.New().Mutate.Mutate(context.Background(), &apimachinery.Admission{Operation: "CREATE", Object: claim})
	fmt.Println(claim.Finalizers, err)
	// Output: [kubernetes.io/pvc-protection] <nil>
}
