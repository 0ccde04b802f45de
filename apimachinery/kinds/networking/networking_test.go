package networking

import (
	"testing"

	"github.com/stretchr/testify/require"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
)

func text(errs field.ErrorList) (out []string) {
	for _, e := range errs {
		out = append(out, e.Field+" "+e.Type.String())
	}
	return out
}

func TestRegistry(t *testing.T) {
	r, err := apimachinery.NewRegistry(Resources()...)
	require.NoError(t, err)
	for _, res := range r.All() {
		for _, c := range res.Views[0].Columns {
			require.NotNil(t, c.Cell(res.New()))
		}
	}
}

func TestIPAddress(t *testing.T) {
	res := IPAddresses()
	for name, valid := range map[string]bool{"10.0.0.1": true, "fd00::1": true, "010.0.0.1": false, "FD00::1": false, "::ffff:1.2.3.4": false, "web": false} {
		require.Equal(t, valid, len(res.ValidName(name, false)) == 0, name)
	}
	of := func(p *networkingv1.ParentReference) *networkingv1.IPAddress {
		return &networkingv1.IPAddress{Spec: networkingv1.IPAddressSpec{ParentRef: p}}
	}
	good := of(&networkingv1.ParentReference{Resource: "services", Namespace: "default", Name: "web"})
	require.Empty(t, res.Validate(t.Context(), good, nil))
	require.Equal(t, "services/default/web", parent(good.Spec.ParentRef))
	require.Equal(t, "gateways.example.com/web", parent(&networkingv1.ParentReference{Group: "example.com", Resource: "Gateways", Name: "web"}))
	require.Equal(t, []string{"spec.parentRef Required value"}, text(res.Validate(t.Context(), of(nil), nil)))
	require.Equal(t, []string{"spec.parentRef.group Invalid value", "spec.parentRef.resource Required value", "spec.parentRef.name Invalid value"},
		text(res.Validate(t.Context(), of(&networkingv1.ParentReference{Group: "A", Name: "a/b"}), nil)))
	require.Equal(t, []string{"spec.parentRef Invalid value"},
		text(res.Validate(t.Context(), of(&networkingv1.ParentReference{Resource: "services", Name: "other"}), good)))
}

func TestServiceCIDR(t *testing.T) {
	res := ServiceCIDRs()
	of := func(cidrs ...string) *networkingv1.ServiceCIDR {
		return &networkingv1.ServiceCIDR{Spec: networkingv1.ServiceCIDRSpec{CIDRs: cidrs}}
	}
	for name, c := range map[string]struct {
		new, old *networkingv1.ServiceCIDR
		want     []string
	}{
		"one":         {of("10.0.0.0/16"), nil, nil},
		"both":        {of("10.0.0.0/16", "fd00::/112"), nil, nil},
		"none":        {of(), nil, []string{"spec.cidrs Required value"}},
		"three":       {of("10.0.0.0/16", "fd00::/112", "fd01::/112"), nil, []string{"spec.cidrs Invalid value"}},
		"one family":  {of("10.0.0.0/16", "10.1.0.0/16"), nil, []string{"spec.cidrs Invalid value"}},
		"an address":  {of("10.0.0.1/16"), nil, []string{"spec.cidrs[0] Invalid value"}},
		"same":        {of("10.0.0.0/16"), of("10.0.0.0/16"), nil},
		"changed":     {of("10.1.0.0/16"), of("10.0.0.0/16"), []string{"spec.cidrs[0] Invalid value"}},
		"second":      {of("10.0.0.0/16", "fd00::/112"), of("10.0.0.0/16"), nil},
		"second gone": {of("10.0.0.0/16"), of("10.0.0.0/16", "fd00::/112"), []string{"spec.cidrs Invalid value"}},
	} {
		var old apimachinery.Object
		if c.old != nil {
			old = c.old
		}
		require.Equal(t, c.want, text(res.Validate(t.Context(), c.new, old)), name)
	}
	told := of("10.0.0.0/16")
	told.Status.Conditions = []metav1.Condition{{Type: "Ready"}}
	res.Prepare(t.Context(), told, of("10.0.0.0/16"))
	require.Empty(t, told.Status, "the status has a door of its own")
}
