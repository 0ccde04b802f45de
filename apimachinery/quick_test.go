package apimachinery_test

import (
	"math/rand"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/randfill"

	"github.com/bedplate/bedplate/apimachinery"
)

// TestQuickDecoderAgreesOnKinds fills objects of built-in kinds at random and reads their JSON both ways.
func TestQuickDecoderAgreesOnKinds(t *testing.T) {
	const seed = 7
	f := randfill.New().NilChance(0.3).NumElements(1, 2).RandSource(rand.NewSource(seed)).Funcs(
		func(f *metav1.FieldsV1, _ randfill.Continue) { *f = *metav1.NewFieldsV1(`{"f:a":{}}`) },
		func(r *runtime.RawExtension, _ randfill.Continue) { r.Raw = []byte(`{"x":1}`) },
		func(m *metav1.Time, c randfill.Continue) { *m = metav1.Unix(c.Int63n(1<<32), 0) },
		func(m *metav1.MicroTime, c randfill.Continue) {
			*m = metav1.NewMicroTime(metav1.Unix(c.Int63n(1<<32), 0).Time)
		},
	)
	q := apimachinery.NewQuickDecoder()
	for _, fresh := range []func() apimachinery.Object{
		func() apimachinery.Object { return &corev1.Pod{} }, func() apimachinery.Object { return &corev1.Secret{} },
		func() apimachinery.Object { return &corev1.Node{} }, func() apimachinery.Object { return &corev1.Event{} },
		func() apimachinery.Object { return &corev1.Service{} }, func() apimachinery.Object { return &corev1.PersistentVolume{} },
		func() apimachinery.Object { return &eventsv1.Event{} }, func() apimachinery.Object { return &appsv1.Deployment{} },
		func() apimachinery.Object { return &appsv1.ControllerRevision{} }, func() apimachinery.Object { return &coordinationv1.Lease{} },
		func() apimachinery.Object { return &networkingv1.NetworkPolicy{} }, func() apimachinery.Object { return &rbacv1.ClusterRole{} },
		func() apimachinery.Object { return &authorizationv1.SubjectAccessReview{} },
	} {
		for range 30 {
			o := fresh()
			f.Fill(o)
			raw, err := apimachinery.Encode(o)
			require.NoError(t, err)
			want, got := fresh(), fresh()
			wantStrict, wantErr := apimachinery.Decode(raw, want)
			strict, err := q.Decode(raw, got)
			require.Equal(t, wantErr == nil, err == nil, "%T: %v, %v", o, wantErr, err)
			require.Equal(t, len(wantStrict), len(strict))
			require.Equal(t, want, got, "%s", raw)
		}
	}
}
