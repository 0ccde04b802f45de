package core

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
)

// Endpoints declares v1 Endpoints, which discovery.k8s.io's EndpointSlice has taken the place of.
func Endpoints() apimachinery.Resource {
	return apimachinery.Resource{
		Name:       schema.GroupResource{Resource: "endpoints"},
		Prefix:     "services/endpoints",
		Namespaced: true,
		New:        func() apimachinery.Object { return &corev1.Endpoints{} },
		Views: []apimachinery.View{{
			GroupVersionKind: corev1.SchemeGroupVersion.WithKind("Endpoints"),
			Plural:           "endpoints", Singular: "endpoints", Short: []string{"ep"},
			Columns: []apimachinery.Column{
				apimachinery.NameColumn(),
				apimachinery.ColumnOf("Endpoints", "string", func(e *corev1.Endpoints) any { return endpointAddresses(e) }),
				apimachinery.AgeColumn(),
			},
		}},
		Default: func(o apimachinery.Object) {
			for _, s := range o.(*corev1.Endpoints).Subsets {
				for i := range s.Ports {
					set(&s.Ports[i].Protocol, corev1.ProtocolTCP)
				}
			}
		},
		Validate: func(_ context.Context, new, old apimachinery.Object) field.ErrorList {
			e := new.(*corev1.Endpoints)
			errs := validateSubsets(e.Subsets)
			if o, ok := old.(*corev1.Endpoints); ok && len(errs) > 0 && equality.Semantic.DeepEqual(e.Subsets, o.Subsets) {
				errs = nil // as they were judged when they came
			}
			return append(ValidateFinalizers(e), errs...)
		},
		Warnings: func(new, _ apimachinery.Object) []string { return endpointsWarnings(new.(*corev1.Endpoints)) },
		Upsert:   true,
	}
}

func validateSubsets(subsets []corev1.EndpointSubset) field.ErrorList {
	var errs field.ErrorList
	for i := range subsets {
		s, path := &subsets[i], field.NewPath("subsets").Index(i)
		if len(s.Addresses)+len(s.NotReadyAddresses) == 0 {
			errs = append(errs, field.Required(path, "must specify `addresses` or `notReadyAddresses`"))
		}
		for j := range s.Addresses {
			errs = append(errs, validateEndpointAddress(&s.Addresses[j], path.Child("addresses").Index(j))...)
		}
		for j := range s.NotReadyAddresses {
			errs = append(errs, validateEndpointAddress(&s.NotReadyAddresses[j], path.Child("notReadyAddresses").Index(j))...)
		}
		for j := range s.Ports {
			errs = append(errs, validateEndpointPort(&s.Ports[j], len(s.Ports) > 1, path.Child("ports").Index(j))...)
		}
	}
	return errs
}

func validateEndpointAddress(a *corev1.EndpointAddress, path *field.Path) field.ErrorList {
	errs := utilvalidation.IsValidIPForLegacyField(path.Child("ip"), a.IP, true, nil)
	if a.Hostname != "" {
		errs = append(errs, invalid(path.Child("hostname"), a.Hostname, utilvalidation.IsDNS1123Label(a.Hostname)...)...)
	}
	if a.NodeName != nil {
		errs = append(errs, invalid(path.Child("nodeName"), *a.NodeName, utilvalidation.IsDNS1123Subdomain(*a.NodeName)...)...)
	}
	return append(errs, ValidateEndpointIP(a.IP, path.Child("ip"))...)
}

func validateEndpointPort(p *corev1.EndpointPort, named bool, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	switch {
	case p.Name != "":
		errs = invalid(path.Child("name"), p.Name, utilvalidation.IsDNS1123Label(p.Name)...)
	case named:
		errs = append(errs, field.Required(path.Child("name"), ""))
	}
	errs = append(errs, invalid(path.Child("port"), p.Port, utilvalidation.IsValidPortNum(int(p.Port))...)...)
	errs = append(errs, oneOf(path.Child("protocol"), p.Protocol, protocols...)...)
	if p.AppProtocol != nil {
		errs = append(errs, validateQualifiedName(*p.AppProtocol, path.Child("appProtocol"))...)
	}
	return errs
}

// endpointsWarnings trusts the controller of endpoints, which mends what it passes on.
func endpointsWarnings(e *corev1.Endpoints) []string {
	if e.Labels["endpoints.kubernetes.io/managed-by"] == "endpoint-controller" {
		return nil
	}
	var out []string
	for i, s := range e.Subsets {
		path := field.NewPath("subsets").Index(i)
		for j, a := range s.Addresses {
			out = append(out, warnOfIP(path.Child("addresses").Index(j).Child("ip"), a.IP)...)
		}
		for j, a := range s.NotReadyAddresses {
			out = append(out, warnOfIP(path.Child("notReadyAddresses").Index(j).Child("ip"), a.IP)...)
		}
	}
	return out
}

// maxShown is how many endpoints a cell shows.
const maxShown = 3

func endpointAddresses(e *corev1.Endpoints) string {
	if len(e.Subsets) == 0 {
		return "<none>"
	}
	var shown []string
	count := 0
	show := func(s *corev1.EndpointSubset, text func(ip string) string) {
		count += len(s.Addresses)
		for _, a := range s.Addresses[:min(len(s.Addresses), maxShown-len(shown))] {
			shown = append(shown, text(a.IP))
		}
	}
	for i := range e.Subsets {
		s := &e.Subsets[i]
		if len(s.Ports) == 0 { // of a headless service
			show(s, func(ip string) string { return ip })
		}
		for _, p := range s.Ports {
			show(s, func(ip string) string { return net.JoinHostPort(ip, strconv.Itoa(int(p.Port))) })
		}
	}
	text := strings.Join(shown, ",")
	if count > maxShown {
		text += fmt.Sprintf(" + %d more...", count-maxShown)
	}
	return text
}
