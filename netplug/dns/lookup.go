package dns

import (
	"net/netip"
	"slices"
	"strings"
)

// lookup finds what a name in the cluster's domain has; labels are those in front of the domain, in lower case.
func (x *Index) lookup(labels []string) record {
	n := len(labels)
	if n == 0 {
		return record{exists: true, apex: true}
	}
	switch top := labels[n-1]; {
	case top == "dns-version" && n == 1:
		return record{exists: true, text: SchemaVersion, ttl: versionTTL}
	case top == "dns" && n == 1:
		return record{exists: true}
	case top == "dns" && n == 2 && labels[0] == "ns":
		return record{exists: true, addrs: x.c.Addresses}
	case (top == "svc" || top == "pod") && n == 1:
		return record{exists: true}
	case (top == "svc" || top == "pod") && n == 2:
		_, exists := x.namespaces[labels[0]]
		return record{exists: exists}
	case top == "svc" && n <= 5:
		return x.lookupService(labels[n-2], labels[n-3], labels[:n-3])
	case top == "pod" && n == 3:
		return x.lookupPod(labels[1], labels[0])
	}
	return record{}
}

// lookupService finds a service, or what is below it.
func (x *Index) lookupService(namespace, name string, below []string) record {
	s, ok := x.services[key{namespace, name}]
	switch {
	case !ok:
		return record{}
	case s.external != "":
		return record{exists: len(below) == 0, cname: s.external}
	case len(below) == 0:
		return x.whole(s)
	case len(below) == 2:
		return x.ported(s, below[0], below[1])
	case strings.HasPrefix(below[0], "_"):
		// nothing is there, but names of ports are below it
		return record{exists: len(x.targets(s, func(p port) bool { return p.name != "" && "_"+p.protocol == below[0] })) > 0}
	case s.headless:
		return x.host(s, below[0])
	}
	return record{}
}

// whole is the record of a service's own name. SRV there leads to all its ports.
func (x *Index) whole(s *service) record {
	r := record{exists: true, addrs: s.addrs, srv: x.targets(s, func(port) bool { return true })}
	if s.headless {
		for e := range x.ready(s) {
			r.addrs = append(r.addrs, e.addr)
		}
		slices.SortFunc(r.addrs, netip.Addr.Compare)
		r.addrs = slices.Compact(r.addrs)
		r.exists = len(r.addrs) > 0
	}
	return r
}

// ported is the record of a named port.
func (x *Index) ported(s *service, name, protocol string) record {
	name, ok := strings.CutPrefix(name, "_")
	protocol, ok2 := strings.CutPrefix(protocol, "_")
	if !ok || !ok2 || name == "" {
		return record{}
	}
	r := record{srv: x.targets(s, func(p port) bool { return p.name == name && p.protocol == protocol })}
	r.exists = len(r.srv) > 0
	return r
}

// host is the record of a headless service's endpoint.
func (x *Index) host(s *service, label string) (r record) {
	addr, isAddr := undash(label)
	for e := range x.ready(s) {
		if e.host == label || e.host == "" && isAddr && e.addr == addr {
			r.addrs = append(r.addrs, e.addr)
		}
	}
	r.exists = len(r.addrs) > 0
	return r
}

// ready yields a service's endpoints that are to be told, with the slice that each is in.
func (x *Index) ready(s *service) func(yield func(*endpoint, *slice) bool) {
	return func(yield func(*endpoint, *slice) bool) {
		for _, k := range x.slicesOf[s.key] {
			is := x.slices[k]
			for i := range is.endpoints {
				if e := &is.endpoints[i]; (e.ready || s.notReady) && !yield(e, is) {
					return
				}
			}
		}
	}
}

// targets are where the ports of a service lead that match.
func (x *Index) targets(s *service, match func(port) bool) (out []target) {
	if !s.headless {
		name := x.name(s.name, s.namespace, "svc")
		for _, p := range s.ports {
			for _, a := range s.addrs {
				if match(p) {
					out = append(out, target{name, p.number, a})
				}
			}
		}
		return out
	}
	for e, is := range x.ready(s) {
		for _, p := range is.ports {
			if match(p) {
				out = append(out, target{x.endpointName(s, e), p.number, e.addr})
			}
		}
	}
	return out
}

func (x *Index) endpointName(s *service, e *endpoint) string {
	host := e.host
	if host == "" {
		host = dash(e.addr)
	}
	return x.name(host, s.name, s.namespace, "svc")
}

// reverse is the names of an address: of the service that has it, or else of endpoints of headless services.
func (x *Index) reverse(a netip.Addr) (names []string) {
	for _, k := range x.byAddr[a] {
		names = append(names, x.name(k.name, k.namespace, "svc"))
	}
	if len(names) > 0 {
		return names
	}
	for _, k := range x.byEndpoint[a] {
		is := x.slices[k]
		s := x.services[is.service]
		for i := range is.endpoints {
			if e := &is.endpoints[i]; e.addr == a && (e.ready || s.notReady) {
				if name := x.endpointName(s, e); !slices.Contains(names, name) {
					names = append(names, name)
				}
			}
		}
	}
	return names
}

func (x *Index) lookupPod(namespace, label string) record {
	addr, ok := undash(label)
	if !ok {
		return record{}
	}
	r := record{addrs: []netip.Addr{addr}}
	switch x.c.Pods {
	case PodsVerified:
		r.exists = x.podAddrs[podAddr{namespace, addr}] > 0
	case PodsInsecure:
		_, r.exists = x.namespaces[namespace]
	}
	return r
}

// dash is an address as a label: "10-0-0-1", "2001-db8--1".
func dash(a netip.Addr) string {
	if a.Is4() {
		return strings.ReplaceAll(a.String(), ".", "-")
	}
	s := strings.ReplaceAll(a.String(), ":", "-")
	// a label neither begins nor ends with a dash
	if s[0] == '-' {
		s = "0" + s
	}
	if s[len(s)-1] == '-' {
		s += "0"
	}
	return s
}

// undash is the address that a label means, however it is written.
func undash(label string) (netip.Addr, bool) {
	if strings.ContainsAny(label, ".:%") {
		return netip.Addr{}, false
	}
	with := ":"
	if strings.Count(label, "-") == 3 && !strings.Contains(label, "--") {
		with = "."
	}
	a, err := netip.ParseAddr(strings.ReplaceAll(label, "-", with))
	return a.Unmap(), err == nil
}
