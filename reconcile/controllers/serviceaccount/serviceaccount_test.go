package serviceaccount

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestMissing(t *testing.T) {
	ns := &corev1.Namespace{}
	require.True(t, Missing(ns, false))
	require.False(t, Missing(ns, true))
	ns.Status.Phase = corev1.NamespaceTerminating
	require.False(t, Missing(ns, false))
	ns = &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: &metav1.Time{}}}
	require.False(t, Missing(ns, false))
}

func ExampleMissing() {
	fmt.Println(Missing(&corev1.Namespace{}, false))
	// Output: true
}
