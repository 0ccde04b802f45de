package discovery

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validation"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"github.com/bedplate/bedplate/apimachinery/kinds/core"
)

// The most that a slice may hold.
const (
	maxEndpoints = 1000
	maxAddresses = 100
	maxPorts     = 20000
	maxHints     = 8
)

var (
	addressTypes = []discoveryv1.AddressType{discoveryv1.AddressTypeFQDN, discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6}
	protocols    = []corev1.Protocol{corev1.ProtocolSCTP, corev1.ProtocolTCP, corev1.ProtocolUDP}
)

// validate judges a slice; old is nil on create. Endpoints that stay as they were stay as they were judged.
func validate(s, old *discoveryv1.EndpointSlice) field.ErrorList {
	errs := core.ValidateFinalizers(s)
	path := field.NewPath("addressType")
	if s.AddressType == "" {
		errs = append(errs, field.Required(path, ""))
	} else if !slices.Contains(addressTypes, s.AddressType) {
		errs = append(errs, field.NotSupported(path, s.AddressType, addressTypes))
	}
	errs = append(errs, validatePorts(s.Ports)...)
	bad := validateEndpoints(s)
	if old == nil {
		return append(errs, bad...)
	}
	if len(bad) > 0 && !equality.Semantic.DeepEqual(s.Endpoints, old.Endpoints) {
		errs = append(errs, bad...)
	}
	return append(errs, validation.ValidateImmutableField(s.AddressType, old.AddressType, path)...)
}

func validatePorts(ports []discoveryv1.EndpointPort) field.ErrorList {
	path := field.NewPath("ports")
	if len(ports) > maxPorts {
		return field.ErrorList{field.TooMany(path, len(ports), maxPorts)}
	}
	var errs field.ErrorList
	names := map[string]bool{}
	for i, p := range ports {
		at, name := path.Index(i), ""
		if p.Name != nil {
			name = *p.Name
		}
		if name != "" {
			errs = append(errs, invalid(at.Child("name"), name, utilvalidation.IsDNS1123Label(name))...)
		}
		if names[name] {
			errs = append(errs, field.Duplicate(at.Child("name"), name))
		}
		names[name] = true
		if p.Protocol == nil {
			errs = append(errs, field.Required(at.Child("protocol"), ""))
		} else if !slices.Contains(protocols, *p.Protocol) {
			errs = append(errs, field.NotSupported(at.Child("protocol"), *p.Protocol, protocols))
		}
		if p.AppProtocol != nil {
			errs = append(errs, invalid(at.Child("appProtocol"), *p.AppProtocol, utilvalidation.IsQualifiedName(*p.AppProtocol))...)
		}
	}
	return errs
}

func validateEndpoints(s *discoveryv1.EndpointSlice) field.ErrorList {
	path := field.NewPath("endpoints")
	if len(s.Endpoints) > maxEndpoints {
		return field.ErrorList{field.TooMany(path, len(s.Endpoints), maxEndpoints)}
	}
	var errs field.ErrorList
	for i := range s.Endpoints {
		e, at := &s.Endpoints[i], path.Index(i)
		errs = append(errs, validateAddresses(e.Addresses, s.AddressType, at.Child("addresses"))...)
		if e.NodeName != nil {
			errs = append(errs, invalid(at.Child("nodeName"), *e.NodeName, utilvalidation.IsDNS1123Subdomain(*e.NodeName))...)
		}
		if e.Hostname != nil {
			errs = append(errs, invalid(at.Child("hostname"), *e.Hostname, utilvalidation.IsDNS1123Label(*e.Hostname))...)
		}
		if e.Hints != nil {
			errs = append(errs, validateHints(e.Hints, at.Child("hints"))...)
		}
	}
	return errs
}

func validateAddresses(addresses []string, t discoveryv1.AddressType, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(addresses) == 0 {
		errs = append(errs, field.Required(path, "must contain at least 1 address"))
	} else if len(addresses) > maxAddresses {
		errs = append(errs, field.TooMany(path, len(addresses), maxAddresses))
	}
	for i, a := range addresses {
		at := path.Index(i)
		var bad field.ErrorList
		switch t {
		case discoveryv1.AddressTypeIPv4:
			bad = utilvalidation.IsValidIPForLegacyField(at, a, true, nil)
		case discoveryv1.AddressTypeIPv6:
			bad = utilvalidation.IsValidIP(at, a)
		case discoveryv1.AddressTypeFQDN:
			errs = append(errs, utilvalidation.IsFullyQualifiedDomainName(at, a)...)
			continue
		default:
			continue
		}
		if len(bad) > 0 {
			errs = append(errs, bad...)
			continue
		}
		if netutils.IsIPv6String(a) != (t == discoveryv1.AddressTypeIPv6) {
			errs = append(errs, field.Invalid(path, a, "must be an "+string(t)+" address"))
		}
		errs = append(errs, core.ValidateEndpointIP(a, at)...)
	}
	return errs
}

func validateHints(h *discoveryv1.EndpointHints, path *field.Path) field.ErrorList {
	zones := make([]string, len(h.ForZones))
	for i, z := range h.ForZones {
		zones[i] = z.Name
	}
	errs, ok := validateHint(zones, utilvalidation.IsValidLabelValue, path.Child("forZones"))
	if !ok {
		return errs
	}
	nodes := make([]string, len(h.ForNodes))
	for i, n := range h.ForNodes {
		nodes[i] = n.Name
	}
	more, _ := validateHint(nodes, utilvalidation.IsDNS1123Subdomain, path.Child("forNodes"))
	return append(errs, more...)
}

// validateHint judges the names of one kind of hint; ok false: there are too many to look at.
func validateHint(names []string, judge func(string) []string, path *field.Path) (errs field.ErrorList, ok bool) {
	if len(names) > maxHints {
		return field.ErrorList{field.TooMany(path, len(names), maxHints)}, false
	}
	for i, name := range names {
		at := path.Index(i).Child("name")
		if slices.Contains(names[:i], name) {
			errs = append(errs, field.Duplicate(at, name))
		}
		errs = append(errs, invalid(at, name, judge(name))...)
	}
	return errs, true
}

func invalid(path *field.Path, value string, messages []string) field.ErrorList {
	var errs field.ErrorList
	for _, msg := range messages {
		errs = append(errs, field.Invalid(path, value, msg))
	}
	return errs
}
