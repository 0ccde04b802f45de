package serviceip

import (
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

var (
	policyPath   = spec.Child("ipFamilyPolicy")
	familiesPath = spec.Child("ipFamilies")
)

// staysAsItIs says whether an update leaves alone a service that takes two families where it can have them: such a
// service gains and loses addresses only when its writer says so.
func (w *work) staysAsItIs() bool {
	if w.old == nil || w.s.Spec.IPFamilyPolicy == nil || w.s.Spec.Type != w.old.Spec.Type {
		return false
	}
	n, o := &w.s.Spec, &w.old.Spec
	prefers := func(p *corev1.IPFamilyPolicy) bool { return p == nil || *p == corev1.IPFamilyPolicyPreferDualStack }
	return prefers(n.IPFamilyPolicy) && prefers(o.IPFamilyPolicy) && slices.Equal(n.ClusterIPs, o.ClusterIPs) && slices.Equal(n.IPFamilies, o.IPFamilies)
}

// families settles the policy and the families of a service that is no ExternalName, and judges them by what the
// cluster has. The service has been judged without the cluster already.
func (w *work) families() error {
	n := &w.s.Spec
	w.policy()
	errs := w.reduce()
	errs = append(errs, w.judgeSingle()...)
	errs = append(errs, w.infer()...)
	if len(errs) > 0 {
		return w.invalid(errs...)
	}
	if n.ClusterIP == corev1.ClusterIPNone && len(n.Selector) == 0 {
		// Its endpoints come from elsewhere, perhaps of families that the cluster has no addresses of.
		w.fill(2)
		return nil
	}
	if *n.IPFamilyPolicy == corev1.IPFamilyPolicyRequireDualStack && len(w.a.families) < 2 {
		errs = append(errs, field.Invalid(policyPath, *n.IPFamilyPolicy, "this cluster is not configured for dual-stack services"))
	}
	for i, f := range n.IPFamilies {
		if !w.a.has(f) {
			errs = append(errs, field.Invalid(familiesPath.Index(i), f, "not configured on this cluster"))
		}
	}
	if len(errs) > 0 {
		return w.invalid(errs...)
	}
	w.fill(len(w.a.families))
	return nil
}

// policy fills in the policy: what it was, else one family; two for a headless service that selects nothing.
func (w *work) policy() {
	n := &w.s.Spec
	if n.IPFamilyPolicy != nil {
		return
	}
	p := corev1.IPFamilyPolicySingleStack
	switch {
	case w.old != nil && w.old.Spec.IPFamilyPolicy != nil:
		p = *w.old.Spec.IPFamilyPolicy
	case n.ClusterIP == corev1.ClusterIPNone && len(n.Selector) == 0:
		p = corev1.IPFamilyPolicyRequireDualStack
	}
	n.IPFamilyPolicy = &p
}

// reduce takes away the second family where the policy alone says so, and says what is missing where it doesn't.
func (w *work) reduce() field.ErrorList {
	if w.old == nil {
		return nil
	}
	n, o := &w.s.Spec, &w.old.Spec
	var errs field.ErrorList
	if *n.IPFamilyPolicy != corev1.IPFamilyPolicySingleStack {
		fewer := func(n, o int, what string) {
			if n > 0 && n < o {
				errs = append(errs, field.Invalid(policyPath, *w.s.Spec.IPFamilyPolicy, "must be 'SingleStack' to release the secondary "+what))
			}
		}
		fewer(len(n.ClusterIPs), len(o.ClusterIPs), "cluster IP")
		fewer(len(n.IPFamilies), len(o.IPFamilies), "IP family")
		return errs
	}
	if len(n.ClusterIPs) > 1 && slices.Equal(n.ClusterIPs, o.ClusterIPs) {
		n.ClusterIPs = n.ClusterIPs[:1:1]
	}
	if len(n.IPFamilies) > 1 && slices.Equal(n.IPFamilies, o.IPFamilies) {
		n.IPFamilies = n.IPFamilies[:1:1]
	}
	return nil
}

// judgeSingle refuses two of what there may be one of.
func (w *work) judgeSingle() field.ErrorList {
	n := &w.s.Spec
	if *n.IPFamilyPolicy != corev1.IPFamilyPolicySingleStack {
		return nil
	}
	var errs field.ErrorList
	one := func(n int, what string) {
		if n == 2 {
			errs = append(errs, field.Invalid(policyPath, *w.s.Spec.IPFamilyPolicy,
				fmt.Sprintf("must be 'RequireDualStack' or 'PreferDualStack' when multiple %s are specified", what)))
		}
	}
	one(len(n.ClusterIPs), "cluster IPs")
	one(len(n.IPFamilies), "IP families")
	return errs
}

// infer reads off the addresses that are asked for the families that are not.
func (w *work) infer() field.ErrorList {
	n := &w.s.Spec
	var errs field.ErrorList
	for i, text := range n.ClusterIPs {
		if text == corev1.ClusterIPNone {
			break
		}
		if i < len(n.IPFamilies) {
			continue
		}
		ip, err := netip.ParseAddr(text)
		family := familyOf(ip.Unmap())
		switch {
		case err != nil, !w.a.has(family):
			errs = append(errs, field.Invalid(spec.Child("clusterIPs").Index(i), n.ClusterIPs, fmt.Sprintf("%s is not configured on this cluster", family)))
		default:
			n.IPFamilies = append(n.IPFamilies, family)
		}
	}
	return errs
}

// fill gives the service the default family if it names none, and the other one if it wants two of as many as there are.
func (w *work) fill(most int) {
	n := &w.s.Spec
	if len(n.IPFamilies) == 0 {
		n.IPFamilies = []corev1.IPFamily{w.a.families[0]}
	}
	if most < 2 || len(n.IPFamilies) > 1 || *n.IPFamilyPolicy == corev1.IPFamilyPolicySingleStack {
		return
	}
	other := corev1.IPv4Protocol
	if n.IPFamilies[0] == corev1.IPv4Protocol {
		other = corev1.IPv6Protocol
	}
	n.IPFamilies = append(n.IPFamilies, other)
}
