package managedfields

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

var scalePart = Part{Fields: map[string]string{"spec.replicas": "spec.replicas"}, Version: "autoscaling/v1", Of: "apps/v1"}

func owner(manager, sub string, op metav1.ManagedFieldsOperationType, version, fields string) metav1.ManagedFieldsEntry {
	at := metav1.NewTime(time.Unix(1_800_000_000, 0))
	return metav1.ManagedFieldsEntry{
		Manager: manager, Subresource: sub, Operation: op, APIVersion: version, FieldsType: fieldsType, FieldsV1: metav1.NewFieldsV1(fields), Time: &at,
	}
}

// TestPartAgrees: the owners of a scale, and of what it is a part of afterwards, are those that Kubernetes' own handler
// comes to. Its times are left out: it forgets that of a new owner.
func TestPartAgrees(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	fields := []string{`{"f:spec":{"f:replicas":{}}}`, `{"f:spec":{"f:replicas":{},"f:selector":{}}}`, `{"f:spec":{"f:paused":{}}}`, `{"f:metadata":{"f:labels":{"f:a":{}}}}`}
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	for i := range 2000 {
		var object, scale []metav1.ManagedFieldsEntry
		for m := range r.IntN(4) {
			object = append(object, owner(fmt.Sprint("m", m), pick("", "", "scale"), metav1.ManagedFieldsOperationApply, "apps/v1", pick(fields...)))
		}
		theirs := managedfields.NewScaleHandler(object, schema.GroupVersion{Group: "apps", Version: "v1"}, managedfields.ResourcePathMappings{
			"apps/v1": fieldpath.MakePathOrDie("spec", "replicas"),
		})
		want, err := theirs.ToSubresource()
		require.NoError(t, err)
		have, err := scalePart.Entries(object)
		require.NoError(t, err)
		requireSame(t, want, have, i)

		for _, e := range have { // some lose it, and somebody may gain it
			if r.IntN(2) == 0 {
				scale = append(scale, e)
			}
		}
		if r.IntN(2) == 0 {
			scale = append(scale, owner("new", "scale", metav1.ManagedFieldsOperationType(pick("Apply", "Update")), "autoscaling/v1", fields[0]))
		}
		want, err = theirs.ToParent(scale)
		require.NoError(t, err)
		have, err = scalePart.Merged(object, scale)
		require.NoError(t, err)
		requireSame(t, want, have, i)
	}
}

func requireSame(t *testing.T, want, have []metav1.ManagedFieldsEntry, i int) {
	t.Helper()
	text := func(entries []metav1.ManagedFieldsEntry) map[string]bool {
		all := map[string]bool{}
		for _, e := range entries {
			all[fmt.Sprintln(e.Manager, e.Subresource, e.Operation, e.APIVersion, string(e.FieldsV1.GetRawBytes()))] = true
		}
		return all
	}
	require.Equal(t, text(want), text(have), "case %d", i)
}

// TestPart: an updater keeps its one entry, which Kubernetes' handler splits; a part may have other names; what isn't
// of the request's version is left alone.
func TestPart(t *testing.T) {
	workers := Part{Fields: map[string]string{"spec.replicas": "spec.workers.count"}, Version: "autoscaling/v1", Of: "x.example.com/v1"}
	object := []metav1.ManagedFieldsEntry{
		owner("old", "", metav1.ManagedFieldsOperationUpdate, "x.example.com/v1beta1", `{"f:spec":{"f:workers":{"f:count":{}}}}`),
		owner("a", "", metav1.ManagedFieldsOperationUpdate, "x.example.com/v1", `{"f:spec":{"f:image":{},"f:workers":{"f:count":{}}}}`),
	}
	entries, err := workers.Entries(object)
	require.NoError(t, err)
	require.Len(t, entries, 1)
	require.Equal(t, `{"f:spec":{"f:replicas":{}}}`, string(entries[0].FieldsV1.GetRawBytes()))
	require.Equal(t, "autoscaling/v1", entries[0].APIVersion)

	after, err := workers.Merged(object, entries)
	require.NoError(t, err)
	requireSame(t, object, after, 0)
	after, err = workers.Merged(object, []metav1.ManagedFieldsEntry{owner("b", "scale", metav1.ManagedFieldsOperationApply, "autoscaling/v1", `{"f:spec":{"f:replicas":{}}}`)})
	require.NoError(t, err)
	requireSame(t, []metav1.ManagedFieldsEntry{
		object[0],
		owner("a", "", metav1.ManagedFieldsOperationUpdate, "x.example.com/v1", `{"f:spec":{"f:image":{}}}`),
		owner("b", "scale", metav1.ManagedFieldsOperationApply, "x.example.com/v1", `{"f:spec":{"f:workers":{"f:count":{}}}}`),
	}, after, 1)

	bad := []metav1.ManagedFieldsEntry{{Manager: "x"}}
	_, err = workers.Entries(bad)
	require.ErrorContains(t, err, "read the owners of a part")
	_, err = workers.Merged(bad, nil)
	require.ErrorContains(t, err, "read the owners of an object")
	_, err = workers.Merged(nil, bad)
	require.ErrorContains(t, err, "read the owners of a part")
}
