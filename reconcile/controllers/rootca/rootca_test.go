package rootca

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/bedplate/bedplate/reconcile"
)

func TestDiff(t *testing.T) {
	ns := &corev1.Namespace{}
	ns.Name = "team"
	want, change := Diff(ns, nil, "pem")
	require.True(t, change)
	require.Equal(t, "team", want.Namespace)
	require.Equal(t, "pem", want.Data[Key])
	_, change = Diff(ns, want, "pem")
	require.False(t, change)
	want.Data["more"] = "x"
	want, change = Diff(ns, want, "pem")
	require.True(t, change)
	require.Equal(t, map[string]string{Key: "pem"}, want.Data)
	_, change = Diff(ns, want, "renewed")
	require.True(t, change)
	ns.Status.Phase = corev1.NamespaceTerminating
	_, change = Diff(ns, nil, "pem")
	require.False(t, change)
	require.ErrorContains(t, Add(&reconcile.Manager{}, nil), "no certificate to publish")
}

func ExampleDiff() {
	ns := &corev1.Namespace{}
	ns.Name = "team"
	cm, change := Diff(ns, nil, "-----BEGIN CERTIFICATE-----")
	fmt.Println(cm.Namespace, cm.Name, change)
	// Output: team kube-root-ca.crt true
}
