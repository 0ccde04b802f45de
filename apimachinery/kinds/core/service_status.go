package core

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"
)

// validateServiceStatus judges what a load balancer says of itself.
func validateServiceStatus(new, old *corev1.Service) field.ErrorList {
	errs, path := ValidateFinalizers(new), field.NewPath("status", "loadBalancer", "ingress")
	if new.Spec.Type != corev1.ServiceTypeLoadBalancer && len(new.Status.LoadBalancer.Ingress) > 0 {
		return append(errs, field.Forbidden(path, "may only be used when `spec.type` is 'LoadBalancer'"))
	}
	var before []string
	for _, in := range old.Status.LoadBalancer.Ingress {
		if in.IP != "" {
			before = append(before, in.IP)
		}
	}
	for i := range new.Status.LoadBalancer.Ingress {
		errs = append(errs, validateIngress(&new.Status.LoadBalancer.Ingress[i], before, path.Index(i))...)
	}
	return errs
}

func validateIngress(in *corev1.LoadBalancerIngress, before []string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if in.IP != "" {
		errs = utilvalidation.IsValidIPForLegacyField(path.Child("ip"), in.IP, true, before)
	}
	mode := path.Child("ipMode")
	switch {
	case in.IPMode == nil && in.IP != "":
		errs = append(errs, field.Required(mode, "must be specified when `ip` is set"))
	case in.IPMode != nil && in.IP == "":
		errs = append(errs, field.Forbidden(mode, "may not be specified when `ip` is not set"))
	case in.IPMode != nil && *in.IPMode != corev1.LoadBalancerIPModeVIP && *in.IPMode != corev1.LoadBalancerIPModeProxy:
		errs = append(errs, notOneOf(mode, *in.IPMode, corev1.LoadBalancerIPModeProxy, corev1.LoadBalancerIPModeVIP))
	}
	if in.Hostname == "" {
		return errs
	}
	host := path.Child("hostname")
	errs = append(errs, invalid(host, in.Hostname, utilvalidation.IsDNS1123Subdomain(in.Hostname)...)...)
	if netutils.ParseIPSloppy(in.Hostname) != nil {
		errs = append(errs, field.Invalid(host, in.Hostname, "must be a DNS name, not an IP address"))
	}
	return errs
}

// serviceWarnings are told beside the answer to whoever writes a service.
func serviceWarnings(s *corev1.Service) []string {
	var out []string
	warn := func(when bool, format string, args ...any) {
		if when {
			out = append(out, fmt.Sprintf(format, args...))
		}
	}
	_, hinted := s.Annotations[corev1.DeprecatedAnnotationTopologyAwareHints]
	warn(hinted, "annotation %s is deprecated, please use %s instead", corev1.DeprecatedAnnotationTopologyAwareHints, corev1.AnnotationTopologyMode)
	if s.Spec.ClusterIP != "" && s.Spec.ClusterIP != corev1.ClusterIPNone {
		for i, ip := range s.Spec.ClusterIPs {
			out = append(out, warnOfIP(clusterIPsPath.Index(i), ip)...)
		}
	}
	external, elsewhere := len(s.Spec.ExternalIPs) > 0, s.Spec.Type == corev1.ServiceTypeExternalName
	none := s.Spec.Type == corev1.ServiceTypeClusterIP && s.Spec.ClusterIP == corev1.ClusterIPNone
	warn(none && s.Spec.LoadBalancerIP != "", "spec.loadBalancerIP is ignored for headless services")
	warn(none && external, "spec.externalIPs is ignored for headless services")
	warn(none && s.Spec.SessionAffinity != corev1.ServiceAffinityNone, "spec.SessionAffinity is ignored for headless services")
	for i, ip := range s.Spec.ExternalIPs {
		out = append(out, warnOfIP(spec.Child("externalIPs").Index(i), ip)...)
	}
	warn(external && !none && !elsewhere, "spec.externalIPs is deprecated and may no longer be implemented in some clusters")
	if s.Spec.LoadBalancerIP != "" {
		out = append(out, warnOfIP(spec.Child("loadBalancerIP"), s.Spec.LoadBalancerIP)...)
	}
	for i, r := range s.Spec.LoadBalancerSourceRanges {
		if _, _, err := netutils.ParseCIDRSloppy(r); err == nil {
			out = append(out, utilvalidation.GetWarningsForCIDR(spec.Child("loadBalancerSourceRanges").Index(i), r)...)
		}
	}
	warn(external && elsewhere, "spec.externalIPs is ignored when spec.type is %q", corev1.ServiceTypeExternalName)
	warn(s.Spec.ExternalName != "" && !elsewhere, "spec.externalName is ignored when spec.type is not %q", corev1.ServiceTypeExternalName)
	near := s.Spec.TrafficDistribution != nil && *s.Spec.TrafficDistribution == corev1.ServiceTrafficDistributionPreferClose
	warn(near, "spec.trafficDistribution: %q is deprecated; use %q", corev1.ServiceTrafficDistributionPreferClose, corev1.ServiceTrafficDistributionPreferSameZone)
	return out
}

// warnOfIP says how an address is better written; nothing of one that can't be read.
func warnOfIP(path *field.Path, ip string) []string {
	if netutils.ParseIPSloppy(ip) == nil {
		return nil
	}
	return utilvalidation.GetWarningsForIP(path, ip)
}
