package serviceip_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/server/serviceip"
)

func TestDenyExternalIPs(t *testing.T) {
	with := func(ips ...string) apimachinery.Object {
		return service("web", func(s *corev1.Service) { s.Spec.ExternalIPs = ips })
	}
	for name, c := range map[string]struct {
		new, old apimachinery.Object
		sub      string
		denied   bool
	}{
		"none":              {new: with()},
		"new":               {new: with("192.0.2.1"), denied: true},
		"added":             {new: with("192.0.2.1", "192.0.2.2"), old: with("192.0.2.1"), denied: true},
		"changed":           {new: with("192.0.2.2"), old: with("192.0.2.1"), denied: true},
		"kept":              {new: with("192.0.2.1"), old: with("192.0.2.1", "192.0.2.2")},
		"status":            {new: with("192.0.2.1"), old: with("192.0.2.1"), sub: "status"},
		"deleted":           {old: with("192.0.2.1")},
		"of something else": {new: &corev1.Pod{}},
	} {
		err := serviceip.DenyExternalIPs().Validate.Validate(t.Context(), &apimachinery.Admission{Object: c.new, Old: c.old, Sub: c.sub})
		require.Equal(t, c.denied, err != nil, name)
	}
}
