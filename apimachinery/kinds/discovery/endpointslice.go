// Package discovery declares the kinds of discovery.k8s.io: EndpointSlice, as Kubernetes v1.37 has it.
package discovery

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"github.com/bedplate/bedplate/apimachinery"
)

// Resources returns every kind of this package.
func Resources() []apimachinery.Resource { return []apimachinery.Resource{EndpointSlices()} }

// EndpointSlices declares discovery.k8s.io/v1 EndpointSlice.
func EndpointSlices() apimachinery.Resource {
	return apimachinery.Resource{
		Name:       schema.GroupResource{Group: discoveryv1.GroupName, Resource: "endpointslices"},
		Prefix:     "endpointslices",
		Namespaced: true,
		New:        func() apimachinery.Object { return &discoveryv1.EndpointSlice{} },
		Views: []apimachinery.View{{
			GroupVersionKind: discoveryv1.SchemeGroupVersion.WithKind("EndpointSlice"),
			Plural:           "endpointslices",
			Columns:          columns(),
		}},
		Default: func(o apimachinery.Object) {
			s := o.(*discoveryv1.EndpointSlice)
			for i := range s.Ports {
				defaultPort(&s.Ports[i])
			}
		},
		Prepare: func(_ context.Context, new, old apimachinery.Object) {
			o, _ := old.(*discoveryv1.EndpointSlice)
			prepare(new.(*discoveryv1.EndpointSlice), o)
		},
		Validate: func(_ context.Context, new, old apimachinery.Object) field.ErrorList {
			o, _ := old.(*discoveryv1.EndpointSlice)
			return validate(new.(*discoveryv1.EndpointSlice), o)
		},
		Warnings: warnings,
	}
}

func defaultPort(p *discoveryv1.EndpointPort) {
	if p.Name == nil {
		none := ""
		p.Name = &none
	}
	if p.Protocol == nil {
		tcp := corev1.ProtocolTCP
		p.Protocol = &tcp
	}
}

// prepare counts the generation, which labels take part in, and takes out the topology of endpoints that were
// written: it was a field of older versions.
func prepare(new, old *discoveryv1.EndpointSlice) {
	if old == nil {
		new.Generation = 1
		dropTopology(new, nil)
		return
	}
	same := equality.Semantic.DeepEqual(new.Endpoints, old.Endpoints)
	if !same || new.AddressType != old.AddressType || !equality.Semantic.DeepEqual(new.Ports, old.Ports) ||
		!equality.Semantic.DeepEqual(new.Labels, old.Labels) {
		new.Generation = old.Generation + 1
	}
	if !same {
		dropTopology(new, old)
	}
}

// dropTopology keeps of an endpoint's topology the node's name, where the slice had it there before.
func dropTopology(new, old *discoveryv1.EndpointSlice) {
	var before []string
	if old != nil {
		for _, e := range old.Endpoints {
			before = append(before, e.DeprecatedTopology[corev1.LabelHostname])
		}
	}
	for i := range new.Endpoints {
		e := &new.Endpoints[i]
		name, ok := e.DeprecatedTopology[corev1.LabelHostname]
		if ok && name != "" && e.NodeName == nil && slices.Contains(before, name) && len(utilvalidation.IsDNS1123Subdomain(name)) == 0 {
			e.NodeName = &name
		}
		e.DeprecatedTopology = nil
	}
}

// The names of the controllers that mend what they pass on.
var controllers = []string{"endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io"}

func warnings(new, old apimachinery.Object) []string {
	s := new.(*discoveryv1.EndpointSlice)
	var out []string
	if old == nil && s.AddressType == discoveryv1.AddressTypeFQDN {
		out = append(out, "spec.addressType: FQDN endpoints are deprecated")
	}
	if slices.Contains(controllers, s.Labels[discoveryv1.LabelManagedBy]) {
		return out
	}
	for i, e := range s.Endpoints {
		for j, a := range e.Addresses {
			if netutils.ParseIPSloppy(a) != nil {
				out = append(out, utilvalidation.GetWarningsForIP(field.NewPath("endpoints").Index(i).Child("addresses").Index(j), a)...)
			}
		}
	}
	return out
}

func columns() []apimachinery.Column {
	return []apimachinery.Column{
		apimachinery.NameColumn(),
		apimachinery.ColumnOf("AddressType", "string", func(s *discoveryv1.EndpointSlice) any { return string(s.AddressType) }),
		apimachinery.ColumnOf("Ports", "string", func(s *discoveryv1.EndpointSlice) any { return ports(s) }),
		apimachinery.ColumnOf("Endpoints", "string", func(s *discoveryv1.EndpointSlice) any { return addresses(s) }),
		apimachinery.AgeColumn(),
	}
}

func ports(s *discoveryv1.EndpointSlice) string {
	var out []string
	for _, p := range s.Ports {
		switch {
		case p.Port != nil:
			out = append(out, strconv.Itoa(int(*p.Port)))
		case p.Name != nil:
			out = append(out, *p.Name)
		default:
			out = append(out, "*")
		}
	}
	return shown(out)
}

func addresses(s *discoveryv1.EndpointSlice) string {
	var out []string
	for _, e := range s.Endpoints {
		out = append(out, e.Addresses...)
	}
	return shown(out)
}

// shown are the first few of many, for a cell.
func shown(all []string) string {
	const most = 3
	text := strings.Join(all[:min(len(all), most)], ",")
	switch {
	case len(all) > most:
		return fmt.Sprintf("%s + %d more...", text, len(all)-most)
	case text == "":
		return "<unset>"
	}
	return text
}
