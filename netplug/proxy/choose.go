package proxy

import (
	"net/netip"
	"slices"
)

// choose fills in the endpoints that new connections may go to.
func (p *ServicePort) choose(n Node, all []endpoint) {
	near := hinted(n, all)
	p.Cluster = addresses(all, func(e *endpoint) bool { return e.ready && near(e) })
	if len(p.Cluster) == 0 {
		p.Cluster = addresses(all, (*endpoint).lastResort)
	}
	p.Local = addresses(all, func(e *endpoint) bool { return e.local && e.ready })
	if len(p.Local) == 0 {
		p.Local = addresses(all, func(e *endpoint) bool { return e.local && e.lastResort() })
	}
	p.Serving = addresses(all, func(e *endpoint) bool { return e.ready || e.serving })
	for i := range all {
		if a := all[i].at.Addr(); all[i].local && !slices.Contains(p.Here, a) {
			p.Here = append(p.Here, a)
		}
	}
}

// lastResort says whether an endpoint is used where none is ready.
func (e *endpoint) lastResort() bool { return e.serving && e.terminating }

func addresses(all []endpoint, want func(*endpoint) bool) []netip.AddrPort {
	var found []netip.AddrPort
	for i := range all {
		if want(&all[i]) && len(found) < maxEndpoints {
			found = append(found, all[i].at)
		}
	}
	return found
}

// hinted says which ready endpoints the hints leave: those for this node, else those for its zone, else all. Hints
// count only if every ready endpoint has them, so that none is forgotten while they are being written.
func hinted(n Node, all []endpoint) func(*endpoint) bool {
	forNode := func(e *endpoint) bool { return slices.Contains(e.nodes, n.Name) }
	forZone := func(e *endpoint) bool { return slices.Contains(e.zones, n.Zone) }
	var ready, nodeHints, zoneHints int
	var node, zone bool
	for i := range all {
		e := &all[i]
		if !e.ready {
			continue
		}
		ready++
		nodeHints += min(1, len(e.nodes))
		zoneHints += min(1, len(e.zones))
		node = node || n.Name != "" && forNode(e)
		zone = zone || n.Zone != "" && forZone(e)
	}
	switch {
	case node && nodeHints == ready:
		return forNode
	case zone && zoneHints == ready:
		return forZone
	}
	return func(*endpoint) bool { return true }
}
