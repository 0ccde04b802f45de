package core

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"
)

// validateService judges a service; old is nil on create.
func validateService(s, old *corev1.Service) field.ErrorList {
	errs := ValidateFinalizers(s)
	if old != nil {
		errs = append(errs, validateServiceUpdate(s, old)...)
	}
	errs = append(errs, validateTopologyAnnotations(s)...)
	errs = append(errs, validateServiceType(s)...)
	errs = append(errs, validateServicePorts(s)...)
	errs = append(errs, metav1validation.ValidateLabels(s.Spec.Selector, spec.Child("selector"))...)
	errs = append(errs, validateAffinity(&s.Spec)...)
	errs = append(errs, validateClusterIPs(s, old)...)
	errs = append(errs, validateExternalIPs(s, old)...)
	errs = append(errs, validateSourceRanges(s, old)...)
	errs = append(errs, validateLoadBalancer(s)...)
	return append(errs, validateTraffic(s)...)
}

func validateServiceUpdate(new, old *corev1.Service) field.ErrorList {
	var errs field.ErrorList
	if new.Spec.Type != corev1.ServiceTypeExternalName && old.Spec.Type != corev1.ServiceTypeExternalName {
		errs = append(validateAddressUpdate(new, old), validateFamilyUpdate(new, old)...)
	}
	both := new.Spec.Type == corev1.ServiceTypeLoadBalancer && old.Spec.Type == corev1.ServiceTypeLoadBalancer
	if n, o := new.Spec.LoadBalancerClass, old.Spec.LoadBalancerClass; both && (n == nil) != (o == nil) || both && n != nil && *n != *o {
		errs = append(errs, field.Invalid(spec.Child("loadBalancerClass"), n, "may not change once set"))
	}
	errs = append(errs, validateLoadBalancerClass(new)...)
	if needsHealthCheck(old) && needsHealthCheck(new) && new.Spec.HealthCheckNodePort != old.Spec.HealthCheckNodePort {
		errs = append(errs, field.Forbidden(spec.Child("healthCheckNodePort"), "field is immutable"))
	}
	return errs
}

func validateTopologyAnnotations(s *corev1.Service) field.ErrorList {
	hints, hinted := s.Annotations[corev1.DeprecatedAnnotationTopologyAwareHints]
	mode, set := s.Annotations[corev1.AnnotationTopologyMode]
	if hinted && set && hints != mode {
		at := field.NewPath("metadata", "annotations").Key(corev1.AnnotationTopologyMode)
		return invalid(at, mode, fmt.Sprintf("must match annotations[%s] when both are specified", corev1.DeprecatedAnnotationTopologyAwareHints))
	}
	return nil
}

// validateServiceType judges what goes with the type.
func validateServiceType(s *corev1.Service) field.ErrorList {
	var errs field.ErrorList
	t := s.Spec.Type
	if len(s.Spec.Ports) == 0 && !headless(s) && t != corev1.ServiceTypeExternalName {
		errs = append(errs, field.Required(spec.Child("ports"), ""))
	}
	switch t {
	case corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeNodePort:
		if headless(s) {
			errs = append(errs, field.Invalid(clusterIPsPath.Index(0), s.Spec.ClusterIPs[0], fmt.Sprintf("may not be set to 'None' for %s services", t)))
		}
	case corev1.ServiceTypeExternalName:
		errs = append(errs, validateExternalName(s)...)
	}
	errs = append(errs, oneOf(spec.Child("type"), t,
		corev1.ServiceTypeClusterIP, corev1.ServiceTypeExternalName, corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeNodePort)...)
	return errs
}

func validateExternalName(s *corev1.Service) field.ErrorList {
	var errs field.ErrorList
	forbid := func(set bool, name string) {
		if set {
			errs = append(errs, field.Forbidden(spec.Child(name), "may not be set for ExternalName services"))
		}
	}
	forbid(len(s.Spec.ClusterIPs) > 0, "clusterIPs")
	forbid(len(s.Spec.IPFamilies) > 0, "ipFamilies")
	forbid(s.Spec.IPFamilyPolicy != nil, "ipFamilyPolicy")
	path := spec.Child("externalName")
	name := strings.TrimSuffix(s.Spec.ExternalName, ".") // a dot at the end says that the name is complete
	if name == "" {
		return append(errs, field.Required(path, ""))
	}
	return append(errs, invalid(path, name, utilvalidation.IsDNS1123Subdomain(name)...)...)
}

var protocols = []corev1.Protocol{corev1.ProtocolSCTP, corev1.ProtocolTCP, corev1.ProtocolUDP}

func validateServicePorts(s *corev1.Service) field.ErrorList {
	var errs field.ErrorList
	type id struct {
		protocol corev1.Protocol
		port     int32
	}
	names, ports, nodePorts := distinct{}, map[id]bool{}, map[id]bool{}
	for i := range s.Spec.Ports {
		p, path := &s.Spec.Ports[i], spec.Child("ports").Index(i)
		errs = append(errs, validateServicePort(p, len(s.Spec.Ports) > 1, names, path)...)
		at := path.Child("nodePort")
		if p.NodePort != 0 && s.Spec.Type == corev1.ServiceTypeClusterIP {
			errs = append(errs, field.Forbidden(at, "may not be used when `type` is 'ClusterIP'"))
		}
		if key := (id{p.Protocol, p.NodePort}); p.NodePort != 0 {
			if nodePorts[key] {
				errs = append(errs, field.Duplicate(at, p.NodePort))
			}
			nodePorts[key] = true
		}
		key := id{p.Protocol, p.Port}
		if ports[key] {
			errs = append(errs, field.Duplicate(path, corev1.ServicePort{Protocol: p.Protocol, Port: p.Port}))
		}
		ports[key] = true
	}
	return errs
}

func validateServicePort(p *corev1.ServicePort, named bool, names distinct, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	switch {
	case p.Name != "":
		errs = append(errs, invalid(path.Child("name"), p.Name, utilvalidation.IsDNS1123Label(p.Name)...)...)
		errs = append(errs, names.check(p.Name, path.Child("name"))...)
	case named:
		errs = append(errs, field.Required(path.Child("name"), ""))
	}
	errs = append(errs, invalid(path.Child("port"), p.Port, utilvalidation.IsValidPortNum(int(p.Port))...)...)
	errs = append(errs, oneOf(path.Child("protocol"), p.Protocol, protocols...)...)
	errs = append(errs, validateTargetPort(p.TargetPort, path.Child("targetPort"))...)
	if p.AppProtocol != nil {
		errs = append(errs, validateQualifiedName(*p.AppProtocol, path.Child("appProtocol"))...)
	}
	return errs
}

func validateTargetPort(p intstr.IntOrString, path *field.Path) field.ErrorList {
	if p.Type == intstr.String {
		return invalid(path, p.StrVal, utilvalidation.IsValidPortName(p.StrVal)...)
	}
	return invalid(path, p.IntValue(), utilvalidation.IsValidPortNum(p.IntValue())...)
}

// maxAffinitySeconds is a day.
const maxAffinitySeconds = 86400

func validateAffinity(s *corev1.ServiceSpec) field.ErrorList {
	errs := oneOf(spec.Child("sessionAffinity"), s.SessionAffinity, corev1.ServiceAffinityClientIP, corev1.ServiceAffinityNone)
	path, c := spec.Child("sessionAffinityConfig"), s.SessionAffinityConfig
	if s.SessionAffinity == corev1.ServiceAffinityNone && c != nil {
		errs = append(errs, field.Forbidden(path, "must not be set when session affinity is None"))
	}
	if s.SessionAffinity != corev1.ServiceAffinityClientIP {
		return errs
	}
	const needed = "when session affinity type is ClientIP"
	clientIP := path.Child("clientIP")
	seconds := clientIP.Child("timeoutSeconds")
	switch {
	case c == nil:
		return append(errs, field.Required(path, needed))
	case c.ClientIP == nil:
		return append(errs, field.Required(clientIP, needed))
	case c.ClientIP.TimeoutSeconds == nil:
		return append(errs, field.Required(seconds, needed))
	case *c.ClientIP.TimeoutSeconds <= 0 || *c.ClientIP.TimeoutSeconds > maxAffinitySeconds:
		return append(errs, field.Invalid(seconds, *c.ClientIP.TimeoutSeconds, fmt.Sprintf("must be greater than 0 and less than %d", maxAffinitySeconds)))
	}
	return errs
}

// validateExternalIPs judges addresses that are new: those that the service has already were judged by the rules of their time.
func validateExternalIPs(s, old *corev1.Service) field.ErrorList {
	var errs field.ErrorList
	var before []string
	if old != nil {
		before = old.Spec.ExternalIPs
	}
	for i, ip := range s.Spec.ExternalIPs {
		at := spec.Child("externalIPs").Index(i)
		if bad := utilvalidation.IsValidIPForLegacyField(at, ip, true, before); len(bad) > 0 {
			errs = append(errs, bad...)
		} else {
			errs = append(errs, ValidateEndpointIP(ip, at)...)
		}
	}
	return errs
}

// ValidateEndpointIP judges the address of an endpoint, which is no node's own: not unspecified, loopback or link-local.
func ValidateEndpointIP(text string, path *field.Path) field.ErrorList {
	ip := netutils.ParseIPSloppy(text)
	if ip == nil {
		return invalid(path, text, "must be a valid IP address")
	}
	var errs field.ErrorList
	forbid := func(is bool, why string) {
		if is {
			errs = append(errs, field.Invalid(path, text, why))
		}
	}
	forbid(ip.IsUnspecified(), fmt.Sprintf("may not be unspecified (%v)", text))
	forbid(ip.IsLoopback(), "may not be in the loopback range (127.0.0.0/8, ::1/128)")
	forbid(ip.IsLinkLocalUnicast(), "may not be in the link-local range (169.254.0.0/16, fe80::/10)")
	forbid(ip.IsLinkLocalMulticast(), "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")
	return errs
}

// validateSourceRanges judges who may use a load balancer: a field, or before there was one an annotation. Blanks
// around a range are allowed in both.
func validateSourceRanges(s, old *corev1.Service) field.ErrorList {
	var errs field.ErrorList
	const key, forOthers = corev1.AnnotationLoadBalancerSourceRangesKey, "may only be used when `type` is 'LoadBalancer'"
	text, annotated := s.Annotations[key]
	path := spec.Child("LoadBalancerSourceRanges")
	if len(s.Spec.LoadBalancerSourceRanges) == 0 {
		if path = field.NewPath("metadata", "annotations").Key(key); !annotated {
			return nil
		}
	}
	if s.Spec.Type != corev1.ServiceTypeLoadBalancer {
		errs = append(errs, field.Forbidden(path, forOthers))
	}
	if len(s.Spec.LoadBalancerSourceRanges) > 0 {
		var before []string
		if old != nil {
			before = trimmed(old.Spec.LoadBalancerSourceRanges)
		}
		for i, r := range trimmed(s.Spec.LoadBalancerSourceRanges) {
			errs = append(errs, utilvalidation.IsValidCIDRForLegacyField(path.Index(i), r, true, before)...)
		}
		return errs
	}
	if strings.TrimSpace(text) == "" || old != nil && old.Annotations[key] == text {
		return errs
	}
	for _, r := range trimmed(strings.Split(text, ",")) {
		errs = append(errs, utilvalidation.IsValidCIDRForLegacyField(path, r, true, nil)...)
	}
	return errs
}

func trimmed(all []string) []string {
	out := slices.Clone(all)
	for i := range out {
		out[i] = strings.TrimSpace(out[i])
	}
	return out
}

func validateLoadBalancer(s *corev1.Service) field.ErrorList {
	errs := validateLoadBalancerClass(s)
	switch balanced := s.Spec.Type == corev1.ServiceTypeLoadBalancer; {
	case balanced && s.Spec.AllocateLoadBalancerNodePorts == nil:
		errs = append(errs, field.Required(field.NewPath("allocateLoadBalancerNodePorts"), ""))
	case !balanced && s.Spec.AllocateLoadBalancerNodePorts != nil:
		errs = append(errs, field.Forbidden(spec.Child("allocateLoadBalancerNodePorts"), "may only be used when `type` is 'LoadBalancer'"))
	}
	return errs
}

func validateLoadBalancerClass(s *corev1.Service) field.ErrorList {
	class, path := s.Spec.LoadBalancerClass, spec.Child("loadBalancerClass")
	switch {
	case class == nil:
		return nil
	case s.Spec.Type != corev1.ServiceTypeLoadBalancer:
		return field.ErrorList{field.Forbidden(path, "may only be used when `type` is 'LoadBalancer'")}
	}
	return validateQualifiedName(*class, path)
}

// validateTraffic judges the policies of traffic from outside and inside, and where it is to go.
func validateTraffic(s *corev1.Service) field.ErrorList {
	path, policy := spec.Child("externalTrafficPolicy"), s.Spec.ExternalTrafficPolicy
	var errs field.ErrorList
	if externallyAccessible(s) {
		errs = oneOf(path, policy, corev1.ServiceExternalTrafficPolicyCluster, corev1.ServiceExternalTrafficPolicyLocal)
	} else if policy != "" {
		errs = invalid(path, policy, "may only be set for externally-accessible services")
	}
	errs = append(errs, validateHealthCheckPort(s)...)
	path = spec.Child("internalTrafficPolicy")
	if p := s.Spec.InternalTrafficPolicy; p != nil {
		if *p != corev1.ServiceInternalTrafficPolicyCluster && *p != corev1.ServiceInternalTrafficPolicyLocal {
			errs = append(errs, notOneOf(path, *p, corev1.ServiceInternalTrafficPolicyCluster, corev1.ServiceInternalTrafficPolicyLocal))
		}
	} else if slices.Contains(clusterTypes, s.Spec.Type) {
		errs = append(errs, field.Required(path, ""))
	}
	distributions := []string{
		corev1.ServiceTrafficDistributionPreferClose, corev1.ServiceTrafficDistributionPreferSameZone, corev1.ServiceTrafficDistributionPreferSameNode,
	}
	if d := s.Spec.TrafficDistribution; d != nil && !slices.Contains(distributions, *d) {
		errs = append(errs, notOneOf(spec.Child("trafficDistribution"), *d, distributions...))
	}
	return errs
}

func validateHealthCheckPort(s *corev1.Service) field.ErrorList {
	path, port := spec.Child("healthCheckNodePort"), s.Spec.HealthCheckNodePort
	switch needed := needsHealthCheck(s); {
	case !needed && port != 0:
		return invalid(path, port, "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'")
	case !needed:
		return nil
	case port == 0:
		return field.ErrorList{field.Required(path, "")}
	}
	return invalid(path, port, utilvalidation.IsValidPortNum(int(port))...)
}
