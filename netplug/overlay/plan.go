package overlay

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"net"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// Mode is how packets get to another node.
type Mode int

const (
	// Routes sends them to the node's InternalIP, which must be in a network that this node is in.
	Routes Mode = iota
	// VXLAN wraps them in UDP packets to the node's InternalIP. It costs 50 bytes of each packet, VXLANOverhead.
	VXLAN
)

// VXLANOverhead is what a tunnel adds to a packet, in bytes: the pods' links need an MTU that much smaller than the
// nodes'.
const VXLANOverhead = 50

// Desired is what a node's kernel shall have. It is plain data, ordered, and can be compared.
type Desired struct {
	// Own are the node's own pod ranges; none as long as its Node has none.
	Own []netip.Prefix
	// Cluster are the pod ranges of all nodes, without those that are refused.
	Cluster []netip.Prefix
	// Routes lead to the ranges of other nodes.
	Routes []Route
	// Peers are the far ends of tunnels; none in mode Routes.
	Peers []Peer
	// Tunnel is this end's; the zero value in mode Routes, or without own ranges and address.
	Tunnel Tunnel
	// Problems say, in a line each, which Nodes were left out in whole or part, and why.
	Problems []string
}

// Route leads to a range by a next hop: a node's InternalIP, or the far end of a tunnel.
type Route struct {
	To  netip.Prefix
	Via netip.Addr
}

// Peer is the far end of a tunnel: its address inside, its MAC address, and the InternalIP of its node.
type Peer struct {
	Inner, Outer netip.Addr
	MAC          MAC
}

// Tunnel is this end of the tunnels.
type Tunnel struct {
	Inner, Local netip.Addr
	MAC          MAC
}

// MAC is a MAC address that can be compared.
type MAC [6]byte

// String is the usual form.
func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }

// macOf makes a node's MAC address of its name, so that every node knows all without asking.
func macOf(node string) (m MAC) {
	sum := sha256.Sum256([]byte(node))
	copy(m[:], sum[:])
	m[0] = m[0]&^1 | 2 // not multicast, made by ourselves
	return m
}

// Plan says what the node of a name needs, given all Nodes. A range that overlaps one of an older Node is refused, as
// it would lead the other's packets astray; Nodes without address or ranges are left out until they have them. Only
// IPv4 is planned.
func Plan(self string, nodes []*corev1.Node, mode Mode) Desired {
	p := planner{self: self, mode: mode}
	sorted := slices.Clone(nodes)
	slices.SortFunc(sorted, func(a, b *corev1.Node) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	for _, n := range sorted {
		p.add(n)
	}
	slices.SortFunc(p.Routes, func(a, b Route) int { return comparePrefix(a.To, b.To) })
	slices.SortFunc(p.Peers, func(a, b Peer) int { return a.Inner.Compare(b.Inner) })
	slices.SortFunc(p.Cluster, comparePrefix)
	slices.Sort(p.Problems)
	return p.Desired
}

type planner struct {
	Desired
	self string
	mode Mode
}

func (p *planner) problem(n *corev1.Node, format string, args ...any) {
	p.Problems = append(p.Problems, fmt.Sprintf("node %s: %s", n.Name, fmt.Sprintf(format, args...)))
}

func (p *planner) add(n *corev1.Node) {
	ranges := p.ranges(n)
	if len(ranges) == 0 {
		return
	}
	addr, ok := p.address(n)
	if n.Name == p.self {
		p.Own = ranges
		if ok && p.mode == VXLAN {
			p.Tunnel = Tunnel{Inner: ranges[0].Addr(), Local: addr, MAC: macOf(n.Name)}
		}
		return
	}
	if !ok {
		p.problem(n, "it has no InternalIP of IPv4 yet")
		return
	}
	via := addr
	if p.mode == VXLAN {
		via = ranges[0].Addr()
		p.Peers = append(p.Peers, Peer{Inner: via, Outer: addr, MAC: macOf(n.Name)})
	}
	for _, r := range ranges {
		p.Routes = append(p.Routes, Route{To: r, Via: via})
	}
}

// ranges are the node's, without those that can't be.
func (p *planner) ranges(n *corev1.Node) (out []netip.Prefix) {
	list := n.Spec.PodCIDRs
	if len(list) == 0 && n.Spec.PodCIDR != "" {
		list = []string{n.Spec.PodCIDR}
	}
	for _, text := range list {
		r, err := netip.ParsePrefix(text)
		switch {
		case err != nil:
			p.problem(n, "pod range %q is none: %v", text, err)
			continue
		case !r.Addr().Is4():
			continue
		case r.Bits() == 0 || r.Addr().IsLoopback() || r.Addr().IsMulticast() || r.Addr().IsLinkLocalUnicast():
			p.problem(n, "pod range %s can't be routed", r)
			continue
		}
		r = r.Masked()
		if i := slices.IndexFunc(p.Cluster, r.Overlaps); i >= 0 {
			p.problem(n, "pod range %s overlaps %s of an older node", r, p.Cluster[i])
			continue
		}
		p.Cluster = append(p.Cluster, r)
		out = append(out, r)
	}
	return out
}

func (p *planner) address(n *corev1.Node) (netip.Addr, bool) {
	for _, a := range n.Status.Addresses {
		if a.Type != corev1.NodeInternalIP {
			continue
		}
		addr, err := netip.ParseAddr(a.Address)
		switch {
		case err != nil:
			p.problem(n, "InternalIP %q is no address", a.Address)
		case addr.IsLoopback() || addr.IsUnspecified() || addr.IsMulticast():
			p.problem(n, "InternalIP %s can't be reached from another node", addr)
		case addr.Is4():
			return addr, true
		}
	}
	return netip.Addr{}, false
}

func comparePrefix(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}
