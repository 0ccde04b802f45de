package storagemigration_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	migrationv1 "k8s.io/api/storagemigration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/kinds/storagemigration"
)

func of(group, resource, revision string, conditions ...string) *migrationv1.StorageVersionMigration {
	m := &migrationv1.StorageVersionMigration{}
	m.Spec.Resource = metav1.GroupResource{Group: group, Resource: resource}
	m.Status.ResourceVersion = revision
	for _, c := range conditions {
		m.Status.Conditions = append(m.Status.Conditions, metav1.Condition{Type: c, Status: metav1.ConditionTrue, Reason: "R", LastTransitionTime: metav1.Now()})
	}
	return m
}

func text(errs field.ErrorList) (out []string) {
	for _, e := range errs {
		out = append(out, e.Field+" "+e.Type.String())
	}
	return out
}

func TestMigration(t *testing.T) {
	_, err := apimachinery.NewRegistry(storagemigration.Resources()...)
	require.NoError(t, err)
	res := storagemigration.StorageVersionMigrations()
	require.Empty(t, res.Validate(t.Context(), of("apps", "deployments", ""), nil))
	require.Equal(t, []string{"spec.resource.resource Required value", "spec.resource.group Invalid value"}, text(res.Validate(t.Context(), of("A", "", ""), nil)))
	require.Equal(t, []string{"spec.resource.resource Invalid value"}, text(res.Validate(t.Context(), of("", "a.b", ""), nil)))
	require.Equal(t, []string{"spec Invalid value"}, text(res.Validate(t.Context(), of("", "pods", ""), of("", "secrets", ""))))

	m := of("", "pods", "5", "Running")
	res.Prepare(t.Context(), m, nil)
	require.Empty(t, m.Status, "the status has a door of its own")
}

func TestStatus(t *testing.T) {
	s := storagemigration.StorageVersionMigrations().Subs["status"].Strategy
	for name, c := range map[string]struct {
		new, old *migrationv1.StorageVersionMigration
		want     []string
	}{
		"starts":      {of("", "pods", "5", "Running"), of("", "pods", ""), nil},
		"ends":        {of("", "pods", "5", "Succeeded"), of("", "pods", "5", "Running"), nil},
		"no revision": {of("", "pods", "five"), of("", "pods", ""), []string{"status.resourceVersion Invalid value"}},
		"changes":     {of("", "pods", "6"), of("", "pods", "5"), []string{"status.resourceVersion Invalid value"}},
		"both":        {of("", "pods", "5", "Succeeded", "Failed"), of("", "pods", "5"), []string{"status.conditions Invalid value"}},
		"restarts":    {of("", "pods", "5"), of("", "pods", "5", "Succeeded"), []string{"status.conditions Invalid value"}},
		"unfails":     {of("", "pods", "5"), of("", "pods", "5", "Failed"), []string{"status.conditions Invalid value"}},
	} {
		t.Run(name, func(t *testing.T) {
			c.new.Spec.Resource.Resource = "other"
			s.Prepare(t.Context(), c.new, c.old)
			require.Equal(t, c.old.Spec, c.new.Spec)
			require.Equal(t, c.want, text(s.Validate(t.Context(), c.new, c.old)))
		})
	}
	columns := storagemigration.StorageVersionMigrations().Views[0].Columns
	require.Equal(t, "Running", columns[2].Cell(of("apps", "deployments", "", "Running")))
	require.Equal(t, "deployments.apps", columns[1].Cell(of("apps", "deployments", "")))
	require.Equal(t, "Unknown", columns[2].Cell(of("", "pods", "")))
}

// A migration must say of what.
func Example() {
	r := storagemigration.StorageVersionMigrations()
	for _, err := range r.Validate(context.Background(), r.New(), nil) {
		fmt.Println(err.Field, err.Type)
	}
	// Output: spec.resource.resource Required value
}
