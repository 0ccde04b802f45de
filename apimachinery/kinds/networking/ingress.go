package networking

import (
	"context"
	"fmt"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
)

// classAnnotation is what named an Ingress' class before there was a field for it.
const classAnnotation = "kubernetes.io/ingress.class"

// Ingresses declares networking.k8s.io/v1 Ingress.
func Ingresses() apimachinery.Resource {
	type ingress = *networkingv1.Ingress
	return apimachinery.Resource{
		Name:       resource("ingresses"),
		Prefix:     "ingress",
		Namespaced: true,
		New:        func() apimachinery.Object { return &networkingv1.Ingress{} },
		Views: []apimachinery.View{{
			GroupVersionKind: networkingv1.SchemeGroupVersion.WithKind("Ingress"),
			Plural:           "ingresses", Short: []string{"ing"},
			Columns: []apimachinery.Column{
				apimachinery.NameColumn(),
				apimachinery.ColumnOf("Class", "string", func(i ingress) any { return orNone(i.Spec.IngressClassName) }),
				apimachinery.ColumnOf("Hosts", "string", func(i ingress) any { return hosts(i.Spec.Rules) }),
				apimachinery.ColumnOf("Address", "string", func(i ingress) any { return addresses(i.Status.LoadBalancer.Ingress) }),
				apimachinery.ColumnOf("Ports", "string", func(i ingress) any {
					if len(i.Spec.TLS) > 0 {
						return "80, 443"
					}
					return "80"
				}),
				apimachinery.AgeColumn(),
			},
		}},
		Prepare: func(_ context.Context, new, old apimachinery.Object) {
			n := new.(ingress)
			if old == nil {
				n.Status, n.Generation = networkingv1.IngressStatus{}, 1
				return
			}
			o := old.(ingress)
			n.Status = *o.Status.DeepCopy()
			if !equality.Semantic.DeepEqual(n.Spec, o.Spec) {
				n.Generation = o.Generation + 1
			}
		},
		Validate: func(_ context.Context, new, old apimachinery.Object) field.ErrorList {
			n := new.(ingress)
			o, _ := old.(ingress)
			errs := append(core.ValidateFinalizers(n), ingressRulesFor(o).spec(&n.Spec)...)
			if o == nil {
				errs = append(errs, validateClassAgrees(n)...)
			}
			return errs
		},
		Warnings: func(new, old apimachinery.Object) []string {
			o, _ := old.(ingress)
			return ingressWarnings(new.(ingress), o)
		},
		Subs: map[string]apimachinery.Subresource{
			"status": {
				Verbs: []string{apimachinery.VerbGet, apimachinery.VerbPatch, apimachinery.VerbUpdate},
				Strategy: &apimachinery.Strategy{
					Owned: []string{"status"},
					Prepare: func(_ context.Context, new, old apimachinery.Object) {
						new.(ingress).Spec = *old.(ingress).Spec.DeepCopy()
					},
					Validate: func(_ context.Context, new, old apimachinery.Object) field.ErrorList {
						n, o := new.(ingress), old.(ingress)
						return append(core.ValidateFinalizers(n), validateIngressPoints(n.Status.LoadBalancer.Ingress, o.Status.LoadBalancer.Ingress)...)
					},
				},
			},
		},
	}
}

func validateClassAgrees(i *networkingv1.Ingress) field.ErrorList {
	annotated, ok := i.Annotations[classAnnotation]
	if !ok || i.Spec.IngressClassName == nil || annotated == *i.Spec.IngressClassName {
		return nil
	}
	return field.ErrorList{field.Invalid(field.NewPath("annotations").Child(classAnnotation), annotated, "must match `ingressClassName` when both are specified")}
}

// validateIngressPoints judges where an Ingress can be reached. Addresses that it had before may stay as they are.
func validateIngressPoints(new, old []networkingv1.IngressLoadBalancerIngress) field.ErrorList {
	var errs field.ErrorList
	var before []string
	for _, p := range old {
		before = append(before, p.IP)
	}
	for i, p := range new {
		at := field.NewPath("status", "loadBalancer", "ingress").Index(i)
		if p.IP != "" {
			errs = append(errs, utilvalidation.IsValidIPForLegacyField(at.Child("ip"), p.IP, true, before)...)
		}
		if p.Hostname == "" {
			continue
		}
		errs = append(errs, invalid(at.Child("hostname"), p.Hostname, utilvalidation.IsDNS1123Subdomain(p.Hostname))...)
		errs = append(errs, notAnIP(at.Child("hostname"), p.Hostname)...)
	}
	return errs
}

// ingressWarnings are about the older way to name a class, and about addresses in odd forms in a new status.
func ingressWarnings(new, old *networkingv1.Ingress) []string {
	if old == nil {
		if _, ok := new.Annotations[classAnnotation]; ok && new.Spec.IngressClassName == nil {
			return []string{fmt.Sprintf("annotation %q is deprecated, use spec.ingressClassName instead", classAnnotation)}
		}
		return nil
	}
	if equality.Semantic.DeepEqual(new.Status, old.Status) {
		return nil
	}
	var out []string
	for i, p := range new.Status.LoadBalancer.Ingress {
		if netutils.ParseIPSloppy(p.IP) != nil {
			out = append(out, utilvalidation.GetWarningsForIP(field.NewPath("status", "loadBalancer", "ingress").Index(i), p.IP)...)
		}
	}
	return out
}

// hosts are the first three hosts that the rules name; "*" if they name none.
func hosts(rules []networkingv1.IngressRule) string {
	const most = 3
	var list []string
	more := false
	for _, r := range rules {
		more = more || len(list) == most
		if !more && r.Host != "" {
			list = append(list, r.Host)
		}
	}
	switch {
	case len(list) == 0:
		return "*"
	case more:
		return fmt.Sprintf("%s + %d more...", strings.Join(list, ","), len(rules)-most)
	}
	return strings.Join(list, ",")
}

func addresses(points []networkingv1.IngressLoadBalancerIngress) string {
	var list []string
	for _, p := range points {
		if p.IP != "" {
			list = append(list, p.IP)
		} else if p.Hostname != "" {
			list = append(list, p.Hostname)
		}
	}
	slices.Sort(list)
	return strings.Join(slices.Compact(list), ",")
}

func orNone(s *string) string {
	if s == nil {
		return "<none>"
	}
	return *s
}
