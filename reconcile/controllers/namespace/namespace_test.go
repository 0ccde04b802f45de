package namespace

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
)

func TestConditions(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	left := []Remains{
		{Resource: "secrets", Count: 2, Finalizers: map[string]int{"a/b": 1}},
		{Resource: "configmaps", Count: 1, Finalizers: map[string]int{"a/b": 1}},
	}
	c := Conditions(nil, left, nil, now)
	require.Equal(t, corev1.ConditionFalse, c[0].Status)
	require.Equal(t, "Some resources are remaining: configmaps has 1 resource instances, secrets has 2 resource instances", c[1].Message)
	require.Equal(t, "Some content in the namespace has finalizers remaining: a/b in 2 resource instances", c[2].Message)

	later := now.Add(time.Minute)
	again := Conditions(c, left, errors.New("quota"), later)
	require.Equal(t, "Failed to delete all resource types, quota", again[0].Message)
	require.Equal(t, later, again[0].LastTransitionTime.Time)
	require.Equal(t, now, again[1].LastTransitionTime.Time, "it did not change")
	require.Equal(t, corev1.ConditionFalse, c[0].Status, "what was there is not changed")

	done := Conditions(again, nil, nil, later)
	for _, c := range done {
		require.Equal(t, corev1.ConditionFalse, c.Status)
	}
}

func ExampleConditions() {
	for _, c := range Conditions(nil, []Remains{{Resource: "pods", Count: 3}}, nil, time.Time{}) {
		fmt.Println(c.Type, c.Status, c.Message)
	}
	// Output:
	// NamespaceDeletionContentFailure False All content successfully deleted, may be waiting on finalization
	// NamespaceContentRemaining True Some resources are remaining: pods has 3 resource instances
	// NamespaceFinalizersRemaining False All content-preserving finalizers finished
}
