package networking

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/api/validation/path"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"
)

// ingressRules are those that the spec of an Ingress is held to; what was wrong with it before may stay wrong.
type ingressRules struct {
	anySecret       bool // names of TLS secrets aren't judged
	anyWildcardRule bool // rules of wildcard hosts aren't judged
	serviceName     func(name string, prefix bool) []string
}

func ingressRulesFor(old *networkingv1.Ingress) ingressRules {
	r := ingressRules{serviceName: validation.NameIsDNSLabel}
	if old == nil {
		return r
	}
	for _, t := range old.Spec.TLS {
		r.anySecret = r.anySecret || len(badSecretName(t.SecretName)) > 0
	}
	strict := ingressRules{serviceName: validation.NameIsDNS1035Label}
	for i := range old.Spec.Rules {
		rule := &old.Spec.Rules[i]
		r.anyWildcardRule = r.anyWildcardRule || strings.Contains(rule.Host, "*") && len(strict.http(rule.HTTP, nil)) > 0
	}
	return r
}

func badSecretName(name string) []string {
	if name == "" {
		return nil
	}
	return validation.NameIsDNSSubdomain(name, false)
}

func (r ingressRules) spec(s *networkingv1.IngressSpec) field.ErrorList {
	var errs field.ErrorList
	if len(s.Rules) == 0 && s.DefaultBackend == nil {
		errs = append(errs, field.Invalid(spec, s.Rules, "either `defaultBackend` or `rules` must be specified"))
	}
	if s.DefaultBackend != nil {
		errs = append(errs, r.backend(s.DefaultBackend, spec.Child("defaultBackend"))...)
	}
	for i := range s.Rules {
		errs = append(errs, r.rule(&s.Rules[i], spec.Child("rules").Index(i))...)
	}
	for i, t := range s.TLS {
		errs = append(errs, r.tls(t, spec.Child("tls").Index(i))...)
	}
	if c := s.IngressClassName; c != nil {
		errs = append(errs, invalid(spec.Child("ingressClassName"), *c, validation.NameIsDNSSubdomain(*c, false))...)
	}
	return errs
}

func (r ingressRules) tls(t networkingv1.IngressTLS, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, h := range t.Hosts {
		errs = append(errs, validateHost(at.Child("hosts").Index(i), h)...)
	}
	if !r.anySecret {
		errs = append(errs, invalid(at.Child("secretName"), t.SecretName, badSecretName(t.SecretName))...)
	}
	return errs
}

func validateHost(at *field.Path, host string) field.ErrorList {
	if strings.Contains(host, "*") {
		return invalid(at, host, utilvalidation.IsWildcardDNS1123Subdomain(host))
	}
	return invalid(at, host, utilvalidation.IsDNS1123Subdomain(host))
}

func notAnIP(at *field.Path, host string) field.ErrorList {
	if netutils.ParseIPSloppy(host) == nil {
		return nil
	}
	return field.ErrorList{field.Invalid(at, host, "must be a DNS name, not an IP address")}
}

func (r ingressRules) rule(rule *networkingv1.IngressRule, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if rule.Host != "" {
		errs = append(notAnIP(at.Child("host"), rule.Host), validateHost(at.Child("host"), rule.Host)...)
	}
	if r.anyWildcardRule && strings.Contains(rule.Host, "*") {
		return errs
	}
	return append(errs, r.http(rule.HTTP, at.Child("http"))...)
}

func (r ingressRules) http(h *networkingv1.HTTPIngressRuleValue, at *field.Path) field.ErrorList {
	if h == nil {
		return nil
	}
	at = at.Child("paths")
	var errs field.ErrorList
	if len(h.Paths) == 0 {
		errs = append(errs, field.Required(at, ""))
	}
	for i := range h.Paths {
		errs = append(errs, r.path(&h.Paths[i], at.Index(i))...)
	}
	return errs
}

func (r ingressRules) path(p *networkingv1.HTTPIngressPath, at *field.Path) field.ErrorList {
	if p.PathType == nil {
		return field.ErrorList{field.Required(at.Child("pathType"), "pathType must be specified")}
	}
	var errs field.ErrorList
	switch *p.PathType {
	case networkingv1.PathTypeExact, networkingv1.PathTypePrefix:
		errs = validateURLPath(p.Path, at.Child("path"))
	case networkingv1.PathTypeImplementationSpecific:
		if p.Path != "" && !strings.HasPrefix(p.Path, "/") {
			errs = append(errs, field.Invalid(at.Child("path"), p.Path, "must be an absolute path"))
		}
	default:
		errs = append(errs, field.NotSupported(at.Child("pathType"), *p.PathType,
			[]networkingv1.PathType{networkingv1.PathTypeExact, networkingv1.PathTypeImplementationSpecific, networkingv1.PathTypePrefix}))
	}
	return append(errs, r.backend(&p.Backend, at.Child("backend"))...)
}

// validateURLPath refuses what proxies would read differently.
func validateURLPath(p string, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if !strings.HasPrefix(p, "/") {
		errs = append(errs, field.Invalid(at, p, "must be an absolute path"))
	}
	for _, bad := range []string{"//", "/./", "/../", "%2f", "%2F"} {
		if strings.Contains(p, bad) {
			errs = append(errs, field.Invalid(at, p, fmt.Sprintf("must not contain '%s'", bad)))
		}
	}
	for _, bad := range []string{"/..", "/."} {
		if strings.HasSuffix(p, bad) {
			errs = append(errs, field.Invalid(at, p, fmt.Sprintf("cannot end with '%s'", bad)))
		}
	}
	return errs
}

func (r ingressRules) backend(b *networkingv1.IngressBackend, at *field.Path) field.ErrorList {
	switch {
	case b.Resource != nil && b.Service != nil:
		return field.ErrorList{field.Invalid(at, "", "cannot set both resource and service backends")}
	case b.Resource != nil:
		return validateLocalReference(b.Resource, at.Child("resource"))
	case b.Service != nil:
		return r.service(b.Service, at)
	}
	return field.ErrorList{field.Invalid(at, "", "resource or service backend is required")}
}

func (r ingressRules) service(s *networkingv1.IngressServiceBackend, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if name := at.Child("service", "name"); s.Name == "" {
		errs = append(errs, field.Required(name, ""))
	} else {
		errs = append(errs, invalid(name, s.Name, r.serviceName(s.Name, false))...)
	}
	switch port := at.Child("service", "port"); {
	case s.Port.Name != "" && s.Port.Number != 0:
		errs = append(errs, field.Invalid(at, "", "cannot set both port name & port number"))
	case s.Port.Name != "":
		errs = append(errs, invalid(port.Child("name"), s.Port.Name, utilvalidation.IsValidPortName(s.Port.Name))...)
	case s.Port.Number != 0:
		errs = append(errs, invalid(port.Child("number"), s.Port.Number, utilvalidation.IsValidPortNum(int(s.Port.Number)))...)
	default:
		errs = append(errs, field.Required(at, "port name or number is required"))
	}
	return errs
}

func validateLocalReference(r *corev1.TypedLocalObjectReference, at *field.Path) field.ErrorList {
	return append(validateGroup(r.APIGroup, at), append(requiredSegment(at.Child("kind"), r.Kind), requiredSegment(at.Child("name"), r.Name)...)...)
}

func validateGroup(group *string, at *field.Path) field.ErrorList {
	if group == nil {
		return nil
	}
	return invalid(at.Child("apiGroup"), *group, utilvalidation.IsDNS1123Subdomain(*group))
}

func requiredSegment(at *field.Path, s string) field.ErrorList {
	if s == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	return invalid(at, s, path.IsValidPathSegmentName(s))
}

func invalid[T any](at *field.Path, value T, messages []string) field.ErrorList {
	var errs field.ErrorList
	for _, msg := range messages {
		errs = append(errs, field.Invalid(at, value, msg))
	}
	return errs
}
