package policy_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/apimachinery/client/clienttest"
	"github.com/bedplate/bedplate/apimachinery/kinds/policy"
)

func budget() *policyv1.PodDisruptionBudget {
	one := intstr.FromInt32(1)
	return &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec:       policyv1.PodDisruptionBudgetSpec{MinAvailable: &one, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}},
	}
}

func TestPodDisruptionBudget(t *testing.T) {
	c := client.For[*policyv1.PodDisruptionBudget](clienttest.Start(t, clienttest.Config{Resources: policy.Resources()}).Client)
	b := budget()
	b.Status.CurrentHealthy = 3
	b, err := c.Create(t.Context(), b)
	require.NoError(t, err)
	require.EqualValues(t, 1, b.Generation)
	require.Zero(t, b.Status.CurrentHealthy)

	half := intstr.FromString("50%")
	b.Spec.MinAvailable = &half
	unseen := b.DeepCopy()
	unseen.ResourceVersion = ""
	_, err = c.Update(t.Context(), unseen)
	require.ErrorContains(t, err, "metadata.resourceVersion: Invalid value: 0: must be specified for an update")
	b, err = c.Update(t.Context(), b)
	require.NoError(t, err)
	require.EqualValues(t, 2, b.Generation)
	b.Status.DisruptionsAllowed, b.Spec.MinAvailable = 2, nil
	b, err = c.UpdateStatus(t.Context(), b)
	require.NoError(t, err)
	require.EqualValues(t, 2, b.Status.DisruptionsAllowed)
	require.Equal(t, &half, b.Spec.MinAvailable)
	b.Status.ExpectedPods = -1
	_, err = c.UpdateStatus(t.Context(), b)
	require.True(t, apierrors.IsInvalid(err), "%v", err)
}

func TestColumns(t *testing.T) {
	var cells []any
	for _, c := range policy.PodDisruptionBudgets().Views[0].Columns {
		cells = append(cells, c.Cell(budget()))
	}
	require.Equal(t, []any{"web", "1", "N/A", int64(0), "<unknown>"}, cells)
}

// A budget says how many pods must stay, or how many may go, and not both.
func Example() {
	b := budget()
	most := intstr.FromString("150%")
	b.Spec.MaxUnavailable = &most
	for _, err := range policy.PodDisruptionBudgets().Validate(context.Background(), b, nil) {
		fmt.Println(err.Field, err.Detail)
	}
	// Output:
	// spec minAvailable and maxUnavailable cannot be both set
	// spec.maxUnavailable must not be greater than 100%
}
