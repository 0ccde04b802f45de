package core

import (
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"
)

var (
	clusterIPsPath = spec.Child("clusterIPs")
	familiesPath   = spec.Child("ipFamilies")
	policyPath     = spec.Child("ipFamilyPolicy")
)

// validateClusterIPs judges the addresses of a service, their families and the policy, as far as they can be judged
// without knowing the cluster. It is asked before addresses are allocated, and after.
func validateClusterIPs(s, old *corev1.Service) field.ErrorList {
	if s.Spec.Type == corev1.ServiceTypeExternalName {
		return nil
	}
	errs := validateFirstIP(&s.Spec)
	errs = append(errs, validateFamilies(&s.Spec)...)
	var before []string
	if old != nil {
		before = old.Spec.ClusterIPs
	}
	ips := s.Spec.ClusterIPs
	unreadable := false
	for i, ip := range ips {
		var bad field.ErrorList
		if i > 0 || ip != corev1.ClusterIPNone {
			bad = utilvalidation.IsValidIPForLegacyField(clusterIPsPath.Index(i), ip, true, before)
		} else if len(ips) > 1 {
			bad = invalid(clusterIPsPath, ips, "'None' must be the first and only value")
		}
		unreadable = unreadable || len(bad) > 0
		errs = append(errs, bad...)
	}
	if len(ips) > 2 {
		errs = append(errs, field.Invalid(clusterIPsPath, ips, "may only hold up to 2 values"))
	}
	if unreadable {
		return errs
	}
	if len(ips) > 1 {
		errs = append(errs, validateDualStack(ips)...)
	}
	if headless(s) {
		return errs
	}
	return append(errs, validateMatch(ips, s.Spec.IPFamilies)...)
}

func validateFirstIP(s *corev1.ServiceSpec) field.ErrorList {
	switch n := len(s.ClusterIPs); {
	case s.ClusterIP == "" && n > 0:
		return invalid(clusterIPsPath, s.ClusterIPs, "must be empty when `clusterIP` is not specified")
	case s.ClusterIP == "":
		return nil
	case n == 0:
		return field.ErrorList{field.Required(clusterIPsPath, "")}
	case s.ClusterIPs[0] != s.ClusterIP:
		return invalid(clusterIPsPath, s.ClusterIPs, "first value must match `clusterIP`")
	}
	return nil
}

func validateFamilies(s *corev1.ServiceSpec) field.ErrorList {
	var errs field.ErrorList
	for i, f := range s.IPFamilies {
		if f != corev1.IPv4Protocol && f != corev1.IPv6Protocol {
			errs = append(errs, notOneOf(familiesPath.Index(i), f, corev1.IPv4Protocol, corev1.IPv6Protocol))
		}
		if slices.Contains(s.IPFamilies[:i], f) {
			errs = append(errs, field.Duplicate(familiesPath.Index(i), f))
		}
	}
	policies := []corev1.IPFamilyPolicy{corev1.IPFamilyPolicyPreferDualStack, corev1.IPFamilyPolicyRequireDualStack, corev1.IPFamilyPolicySingleStack}
	if p := s.IPFamilyPolicy; p != nil && !slices.Contains(policies, *p) {
		errs = append(errs, notOneOf(policyPath, *p, policies...))
	}
	return errs
}

func validateDualStack(ips []string) field.ErrorList {
	dual, err := netutils.IsDualStackIPStrings(ips)
	var errs field.ErrorList
	if err != nil {
		errs = append(errs, field.InternalError(clusterIPsPath, errors.New("the families of the addresses can't be told")))
	}
	if !dual {
		errs = append(errs, field.Invalid(clusterIPsPath, ips, "may specify no more than one IP for each IP family"))
	}
	return errs
}

// validateMatch judges whether addresses are of the families that stand beside them.
func validateMatch(ips []string, families []corev1.IPFamily) field.ErrorList {
	var errs field.ErrorList
	for i, ip := range ips[:min(len(ips), len(families))] {
		six := netutils.IsIPv6String(ip)
		if families[i] == corev1.IPv4Protocol && six || families[i] == corev1.IPv6Protocol && !six {
			errs = append(errs, field.Invalid(clusterIPsPath.Index(i), ip, fmt.Sprintf("expected an %s value as indicated by `ipFamilies[%d]`", families[i], i)))
		}
	}
	return errs
}

const unchangeable = "may not change once set"

// validateAddressUpdate holds a service to its first address; a second may come and go.
func validateAddressUpdate(new, old *corev1.Service) field.ErrorList {
	if headless(new) && headless(old) {
		return nil
	}
	n, o := new.Spec.ClusterIPs, old.Spec.ClusterIPs
	var errs field.ErrorList
	moved := func(i int) {
		errs = append(errs, field.Invalid(clusterIPsPath.Index(i), n, unchangeable))
	}
	if len(n) == len(o) {
		for i := range o {
			if n[i] != o[i] {
				moved(i)
			}
		}
		return errs
	}
	if len(n) == 0 {
		errs = append(errs, field.Invalid(clusterIPsPath.Index(0), n, "primary clusterIP can not be unset"))
	}
	if len(n) > 0 && len(o) > 0 && n[0] != o[0] {
		moved(0)
	}
	if len(n) < len(o) && len(n) == 1 && !singleStack(new) {
		errs = append(errs, field.Invalid(policyPath, new.Spec.IPFamilyPolicy, "must be set to 'SingleStack' when releasing the secondary clusterIP"))
	}
	return errs
}

// validateFamilyUpdate holds a service that has addresses to its first family.
func validateFamilyUpdate(new, old *corev1.Service) field.ErrorList {
	if headless(new) || headless(old) {
		return nil
	}
	n, o := new.Spec.IPFamilies, old.Spec.IPFamilies
	first := familiesPath.Index(0)
	var errs field.ErrorList
	if len(n) == len(o) {
		for i := range o {
			if n[i] != o[i] {
				errs = append(errs, field.Invalid(first, n, unchangeable))
			}
		}
		return errs
	}
	if len(n) < len(o) && len(new.Spec.ClusterIPs) == 0 {
		errs = append(errs, field.Invalid(first, n, "primary ipFamily can not be unset"))
	}
	if len(n) > 0 && len(o) > 0 && n[0] != o[0] {
		errs = append(errs, field.Invalid(first, new.Spec.ClusterIPs, unchangeable))
	}
	if len(n) < len(o) && len(n) == 1 && !singleStack(new) {
		errs = append(errs, field.Invalid(policyPath, new.Spec.IPFamilyPolicy, "must be set to 'SingleStack' when releasing the secondary ipFamily"))
	}
	return errs
}

func singleStack(s *corev1.Service) bool {
	return s.Spec.IPFamilyPolicy != nil && *s.Spec.IPFamilyPolicy == corev1.IPFamilyPolicySingleStack
}
