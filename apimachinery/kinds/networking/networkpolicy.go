package networking

import (
	"context"
	"reflect"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
)

// NetworkPolicies declares networking.k8s.io/v1 NetworkPolicy.
func NetworkPolicies() apimachinery.Resource {
	type policy = *networkingv1.NetworkPolicy
	return apimachinery.Resource{
		Name:       resource("networkpolicies"),
		Prefix:     "networkpolicies",
		Namespaced: true,
		New:        func() apimachinery.Object { return &networkingv1.NetworkPolicy{} },
		Views: []apimachinery.View{{
			GroupVersionKind: networkingv1.SchemeGroupVersion.WithKind("NetworkPolicy"),
			Plural:           "networkpolicies", Short: []string{"netpol"},
			Columns: []apimachinery.Column{
				apimachinery.NameColumn(),
				apimachinery.ColumnOf("Pod-Selector", "string", func(p policy) any { return metav1.FormatLabelSelector(&p.Spec.PodSelector) }),
				apimachinery.AgeColumn(),
			},
		}},
		Default: func(o apimachinery.Object) { defaultPolicy(&o.(policy).Spec) },
		Prepare: func(_ context.Context, new, old apimachinery.Object) {
			n := new.(policy)
			if old == nil {
				n.Generation = 1
			} else if o := old.(policy); !reflect.DeepEqual(n.Spec, o.Spec) {
				n.Generation = o.Generation + 1
			}
		},
		Validate: func(_ context.Context, new, old apimachinery.Object) field.ErrorList {
			n := new.(policy)
			o, _ := old.(policy)
			return append(core.ValidateFinalizers(n), policyRulesFor(o).spec(&n.Spec)...)
		},
		Warnings: func(new, _ apimachinery.Object) []string { return policyWarnings(&new.(policy).Spec) },
	}
}

func defaultPolicy(s *networkingv1.NetworkPolicySpec) {
	if len(s.PolicyTypes) == 0 {
		s.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
		if len(s.Egress) > 0 {
			s.PolicyTypes = append(s.PolicyTypes, networkingv1.PolicyTypeEgress)
		}
	}
	tcp := func(ports []networkingv1.NetworkPolicyPort) {
		for i := range ports {
			if ports[i].Protocol == nil {
				p := corev1.ProtocolTCP
				ports[i].Protocol = &p
			}
		}
	}
	for i := range s.Ingress {
		tcp(s.Ingress[i].Ports)
	}
	for i := range s.Egress {
		tcp(s.Egress[i].Ports)
	}
}

// policyRules are those that a policy is held to; what it had before may stay.
type policyRules struct {
	selectors metavalidation.LabelSelectorValidationOptions
	before    []string // CIDRs
}

func policyRulesFor(old *networkingv1.NetworkPolicy) policyRules {
	var r policyRules
	if old == nil {
		return r
	}
	r.selectors.AllowInvalidLabelValueInSelector = len(metavalidation.ValidateLabelSelector(&old.Spec.PodSelector, r.selectors, nil)) > 0
	eachBlock(&old.Spec, func(b *networkingv1.IPBlock, _ *field.Path) {
		r.before = append(append(r.before, b.CIDR), b.Except...)
	})
	return r
}

// eachBlock calls f with every block of addresses in a policy, and its place.
func eachBlock(s *networkingv1.NetworkPolicySpec, f func(b *networkingv1.IPBlock, at *field.Path)) {
	peers := func(list []networkingv1.NetworkPolicyPeer, at *field.Path) {
		for i, p := range list {
			if p.IPBlock != nil {
				f(p.IPBlock, at.Index(i).Child("ipBlock"))
			}
		}
	}
	for i := range s.Ingress {
		peers(s.Ingress[i].From, spec.Child("ingress").Index(i).Child("from"))
	}
	for i := range s.Egress {
		peers(s.Egress[i].To, spec.Child("egress").Index(i).Child("to"))
	}
}

func (r policyRules) spec(s *networkingv1.NetworkPolicySpec) field.ErrorList {
	errs := metavalidation.ValidateLabelSelector(&s.PodSelector, r.selectors, spec.Child("podSelector"))
	for i := range s.Ingress {
		at := spec.Child("ingress").Index(i)
		errs = append(errs, r.rule(s.Ingress[i].Ports, s.Ingress[i].From, at.Child("ports"), at.Child("from"))...)
	}
	for i := range s.Egress {
		at := spec.Child("egress").Index(i)
		errs = append(errs, r.rule(s.Egress[i].Ports, s.Egress[i].To, at.Child("ports"), at.Child("to"))...)
	}
	types := []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress}
	at := spec.Child("policyTypes")
	if len(s.PolicyTypes) > len(types) {
		return append(errs, field.Invalid(at, s.PolicyTypes, "may not specify more than two policyTypes"))
	}
	for i, t := range s.PolicyTypes {
		if t != types[0] && t != types[1] {
			errs = append(errs, field.NotSupported(at.Index(i), t, types))
		}
	}
	return errs
}

func (r policyRules) rule(ports []networkingv1.NetworkPolicyPort, peers []networkingv1.NetworkPolicyPeer, atPorts, atPeers *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i := range ports {
		errs = append(errs, validatePolicyPort(&ports[i], atPorts.Index(i))...)
	}
	for i := range peers {
		errs = append(errs, r.peer(&peers[i], atPeers.Index(i))...)
	}
	return errs
}

func validatePolicyPort(p *networkingv1.NetworkPolicyPort, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if p.Protocol != nil && *p.Protocol != corev1.ProtocolTCP && *p.Protocol != corev1.ProtocolUDP && *p.Protocol != corev1.ProtocolSCTP {
		errs = append(errs, field.NotSupported(at.Child("protocol"), *p.Protocol, []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP}))
	}
	port, end := at.Child("port"), at.Child("endPort")
	switch {
	case p.Port == nil:
		if p.EndPort != nil {
			errs = append(errs, field.Invalid(end, *p.EndPort, "may not be specified when `port` is not specified"))
		}
	case p.Port.Type == intstr.Int:
		errs = append(errs, invalid(port, p.Port.IntVal, utilvalidation.IsValidPortNum(int(p.Port.IntVal)))...)
		if p.EndPort == nil {
			break
		}
		if *p.EndPort < p.Port.IntVal {
			errs = append(errs, field.Invalid(end, p.Port.IntVal, "must be greater than or equal to `port`"))
		}
		errs = append(errs, invalid(end, *p.EndPort, utilvalidation.IsValidPortNum(int(*p.EndPort)))...)
	default:
		if p.EndPort != nil {
			errs = append(errs, field.Invalid(end, *p.EndPort, "may not be specified when `port` is non-numeric"))
		}
		errs = append(errs, invalid(port, p.Port.StrVal, utilvalidation.IsValidPortName(p.Port.StrVal))...)
	}
	return errs
}

func (r policyRules) peer(p *networkingv1.NetworkPolicyPeer, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	selector := func(s *metav1.LabelSelector, name string) {
		if s != nil {
			errs = append(errs, metavalidation.ValidateLabelSelector(s, r.selectors, at.Child(name))...)
		}
	}
	selector(p.PodSelector, "podSelector")
	selector(p.NamespaceSelector, "namespaceSelector")
	selects := p.PodSelector != nil || p.NamespaceSelector != nil
	switch {
	case p.IPBlock == nil && !selects:
		errs = append(errs, field.Required(at, "must specify a peer"))
	case p.IPBlock != nil:
		errs = append(errs, r.block(p.IPBlock, at.Child("ipBlock"))...)
		if selects {
			errs = append(errs, field.Forbidden(at, "may not specify both ipBlock and another peer"))
		}
	}
	return errs
}

func (r policyRules) block(b *networkingv1.IPBlock, at *field.Path) field.ErrorList {
	if b.CIDR == "" {
		return field.ErrorList{field.Required(at.Child("cidr"), "")}
	}
	errs := utilvalidation.IsValidCIDRForLegacyField(at.Child("cidr"), b.CIDR, true, r.before)
	_, whole, err := netutils.ParseCIDRSloppy(b.CIDR)
	if err != nil {
		return errs
	}
	for i, e := range b.Except {
		here := at.Child("except").Index(i)
		errs = append(errs, utilvalidation.IsValidCIDRForLegacyField(here, e, true, r.before)...)
		_, part, err := netutils.ParseCIDRSloppy(e)
		if err != nil {
			continue
		}
		bits, _ := whole.Mask.Size()
		if more, _ := part.Mask.Size(); !whole.Contains(part.IP) || bits >= more {
			errs = append(errs, field.Invalid(here, e, "must be a strict subset of `cidr`"))
		}
	}
	return errs
}

func policyWarnings(s *networkingv1.NetworkPolicySpec) []string {
	var out []string
	warn := func(at *field.Path, cidr string) {
		if _, _, err := netutils.ParseCIDRSloppy(cidr); err == nil { // else it was there before
			out = append(out, utilvalidation.GetWarningsForCIDR(at, cidr)...)
		}
	}
	eachBlock(s, func(b *networkingv1.IPBlock, at *field.Path) {
		warn(at.Child("cidr"), b.CIDR)
		for i, e := range b.Except {
			warn(at.Child("except").Index(i), e)
		}
	})
	return out
}
