package core

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
)

// Services declares v1 Service. Its cluster addresses and node ports are claims: a server with an allocator
// (apimachinery/server/serviceip) fills in those that are not asked for, and no two Services have the same.
func Services() apimachinery.Resource {
	return apimachinery.Resource{
		Name:       schema.GroupResource{Resource: "services"},
		Prefix:     "services/specs",
		Namespaced: true,
		New:        func() apimachinery.Object { return &corev1.Service{} },
		Views: []apimachinery.View{{
			GroupVersionKind: corev1.SchemeGroupVersion.WithKind("Service"),
			Plural:           "services", Short: []string{"svc"}, Category: []string{"all"},
			Columns: serviceColumns(),
			Fields:  []apimachinery.Field{{Name: "spec.clusterIP"}, {Name: "spec.type"}},
		}},
		ValidName: validation.NameIsDNSLabel,
		Default:   func(o apimachinery.Object) { defaultService(o.(*corev1.Service)) },
		Prepare:   func(_ context.Context, new, old apimachinery.Object) { prepareService(new.(*corev1.Service), old) },
		Validate: func(_ context.Context, new, old apimachinery.Object) field.ErrorList {
			o, _ := old.(*corev1.Service)
			return validateService(new.(*corev1.Service), o)
		},
		Warnings: func(new, _ apimachinery.Object) []string { return serviceWarnings(new.(*corev1.Service)) },
		Claims:   &apimachinery.Claims{Complete: completeService, Of: serviceClaims},
		Upsert:   true,
		Echo:     true,
		Subs: map[string]apimachinery.Subresource{
			"status": {
				Verbs: []string{apimachinery.VerbGet, apimachinery.VerbPatch, apimachinery.VerbUpdate},
				Strategy: &apimachinery.Strategy{
					Owned: []string{"status"},
					Prepare: func(_ context.Context, new, old apimachinery.Object) {
						new.(*corev1.Service).Spec = old.(*corev1.Service).Spec
					},
					Validate: func(_ context.Context, new, old apimachinery.Object) field.ErrorList {
						return validateServiceStatus(new.(*corev1.Service), old.(*corev1.Service))
					},
				},
			},
			"proxy": {Kind: corev1.SchemeGroupVersion.WithKind("ServiceProxyOptions"), Verbs: proxyVerbs, Connect: "services/proxy"},
		},
	}
}

// defaultService fills in what a service leaves out, other than what is allocated.
func defaultService(s *corev1.Service) {
	spec := &s.Spec
	set(&spec.SessionAffinity, corev1.ServiceAffinityNone)
	defaultAffinityConfig(spec)
	set(&spec.Type, corev1.ServiceTypeClusterIP)
	for i := range spec.Ports {
		p := &spec.Ports[i]
		set(&p.Protocol, corev1.ProtocolTCP)
		if p.TargetPort == intstr.FromInt32(0) || p.TargetPort == intstr.FromString("") {
			p.TargetPort = intstr.FromInt32(p.Port)
		}
	}
	if externallyAccessible(s) {
		set(&spec.ExternalTrafficPolicy, corev1.ServiceExternalTrafficPolicyCluster)
	}
	if slices.Contains(clusterTypes, spec.Type) {
		defaultTo(&spec.InternalTrafficPolicy, corev1.ServiceInternalTrafficPolicyCluster)
	}
	if spec.Type != corev1.ServiceTypeLoadBalancer {
		return
	}
	defaultTo(&spec.AllocateLoadBalancerNodePorts, true)
	for i := range s.Status.LoadBalancer.Ingress {
		if in := &s.Status.LoadBalancer.Ingress[i]; in.IP != "" {
			defaultTo(&in.IPMode, corev1.LoadBalancerIPModeVIP)
		}
	}
}

// defaultAffinityConfig gives affinity its time, where there is affinity.
func defaultAffinityConfig(spec *corev1.ServiceSpec) {
	switch c := spec.SessionAffinityConfig; spec.SessionAffinity {
	case corev1.ServiceAffinityNone:
		spec.SessionAffinityConfig = nil
	case corev1.ServiceAffinityClientIP:
		if c == nil || c.ClientIP == nil || c.ClientIP.TimeoutSeconds == nil {
			seconds := corev1.DefaultClientIPServiceAffinitySeconds
			spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: &seconds}}
		}
	}
}

// clusterTypes are the types of services that have addresses in the cluster.
var clusterTypes = []corev1.ServiceType{corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer}

// externallyAccessible says whether traffic from outside of the cluster may come in by the service.
func externallyAccessible(s *corev1.Service) bool {
	return needsNodePort(s) || s.Spec.Type == corev1.ServiceTypeClusterIP && len(s.Spec.ExternalIPs) > 0
}

// needsNodePort says whether services of the type may have node ports.
func needsNodePort(s *corev1.Service) bool {
	return s.Spec.Type == corev1.ServiceTypeNodePort || s.Spec.Type == corev1.ServiceTypeLoadBalancer
}

// needsHealthCheck says whether load balancers must be told which nodes have endpoints.
func needsHealthCheck(s *corev1.Service) bool {
	return s.Spec.Type == corev1.ServiceTypeLoadBalancer && s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
}

func headless(s *corev1.Service) bool {
	return len(s.Spec.ClusterIPs) == 1 && s.Spec.ClusterIPs[0] == corev1.ClusterIPNone
}

func serviceColumns() []apimachinery.Column {
	type service = *corev1.Service
	return []apimachinery.Column{
		apimachinery.NameColumn(),
		apimachinery.ColumnOf("Type", "string", func(s service) any { return string(s.Spec.Type) }),
		apimachinery.ColumnOf("Cluster-IP", "string", func(s service) any {
			if len(s.Spec.ClusterIPs) == 0 {
				return "<none>"
			}
			return s.Spec.ClusterIPs[0]
		}),
		apimachinery.ColumnOf("External-IP", "string", func(s service) any { return externalIP(s) }),
		apimachinery.ColumnOf("Port(s)", "string", func(s service) any { return or(servicePorts(s), "<none>") }),
		apimachinery.AgeColumn(),
		wide("Selector", "string", func(s service) any { return labels.FormatLabels(s.Spec.Selector) }),
	}
}

func externalIP(s *corev1.Service) string {
	all, nothing := s.Spec.ExternalIPs, "<none>"
	switch s.Spec.Type {
	case corev1.ServiceTypeExternalName:
		return s.Spec.ExternalName
	case corev1.ServiceTypeLoadBalancer:
		all, nothing = append(ingressAddresses(s), all...), "<pending>"
	case corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort:
	default:
		return "<unknown>"
	}
	if len(all) == 0 {
		return nothing
	}
	return strings.Join(all, ",")
}

// ingressAddresses are those of the load balancer, each once and sorted.
func ingressAddresses(s *corev1.Service) []string {
	var out []string
	for _, in := range s.Status.LoadBalancer.Ingress {
		if at := or(in.IP, in.Hostname); at != "" {
			out = append(out, at)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func servicePorts(s *corev1.Service) string {
	var out []string
	for _, p := range s.Spec.Ports {
		if p.NodePort > 0 {
			out = append(out, fmt.Sprintf("%d:%d/%s", p.Port, p.NodePort, p.Protocol))
		} else {
			out = append(out, fmt.Sprintf("%d/%s", p.Port, p.Protocol))
		}
	}
	return strings.Join(out, ",")
}
