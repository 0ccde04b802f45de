package bedplate_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/bedplate/bedplate"
	"github.com/bedplate/bedplate/apimachinery/client"
)

// TestFlowControl: every cluster has its levels and schemas; a new start leaves alone what became of them.
func TestFlowControl(t *testing.T) {
	dir := t.TempDir()
	levels := func(p *bedplate.ControlPlane) client.Resource[*flowcontrolv1.PriorityLevelConfiguration] {
		return client.For[*flowcontrolv1.PriorityLevelConfiguration](p.Client())
	}
	p, err := bedplate.Start(t.Context(), bedplate.Config{Dir: dir})
	require.NoError(t, err)
	all, err := levels(p).List(t.Context())
	require.NoError(t, err)
	require.Len(t, all.Items, 8)
	schemas, err := client.For[*flowcontrolv1.FlowSchema](p.Client()).List(t.Context())
	require.NoError(t, err)
	require.Len(t, schemas.Items, 11)

	one, err := levels(p).Get(t.Context(), "", "workload-low")
	require.NoError(t, err)
	one.Spec.Limited.NominalConcurrencyShares = ptr.To[int32](7)
	_, err = levels(p).Update(t.Context(), one)
	require.NoError(t, err)
	require.NoError(t, levels(p).Delete(t.Context(), "", "system"))
	require.NoError(t, p.Stop())

	p = start(t, bedplate.Config{Dir: dir})
	one, err = levels(p).Get(t.Context(), "", "workload-low")
	require.NoError(t, err)
	require.EqualValues(t, 7, *one.Spec.Limited.NominalConcurrencyShares)
	_, err = levels(p).Get(t.Context(), "", "system")
	require.NoError(t, err)
}

// TestAdminAccess: claims get an administrator's access in namespaces that say so.
func TestAdminAccess(t *testing.T) {
	p := start(t, bedplate.Config{})
	c := client.For[*resourcev1.ResourceClaim](p.Client())
	claim := &resourcev1.ResourceClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "c"},
		Spec: resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{Requests: []resourcev1.DeviceRequest{{
			Name: "one", Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: "gpu.example.com", AdminAccess: ptr.To(true)},
		}}}},
	}
	_, err := c.Create(t.Context(), claim)
	require.True(t, apierrors.IsInvalid(err), "%v", err)
	n, err := client.For[*corev1.Namespace](p.Client()).Get(t.Context(), "", "default")
	require.NoError(t, err)
	n.Labels[resourcev1.DRAAdminNamespaceLabelKey] = "true"
	_, err = client.For[*corev1.Namespace](p.Client()).Update(t.Context(), n)
	require.NoError(t, err)
	_, err = c.Create(t.Context(), claim)
	require.NoError(t, err)
}
