package proxy

import (
	"fmt"
	"maps"
	"net/netip"
	"strings"
	"time"
)

// class is what the handling of a frontend depends on. Each has one chain in the kernel, shared by all frontends
// of the class: what differs between services is in the maps alone, so a change of a service is a change of elements.
type class struct {
	source   source
	local    bool // from outside: the endpoints of this node; from the cluster: all
	here     int  // endpoints in the local list, where it is used
	all      int  // endpoints in the cluster's list, where it is used
	affinity time.Duration
}

// source says whose source address is rewritten on the way to an endpoint.
type source uint8

const (
	keep       source = iota // nobody's
	pods                     // that of whoever is no pod
	masquerade               // everybody's
)

const classPrefix = "to-"

// chain is the name of a class's chain.
func (c class) chain() string {
	var b strings.Builder
	b.WriteString(classPrefix)
	b.WriteString([...]string{keep: "keep", pods: "in", masquerade: "ext"}[c.source])
	if c.here > 0 || c.local {
		fmt.Fprintf(&b, "-local%d", c.here)
	}
	if c.all > 0 {
		fmt.Fprintf(&b, "-%d", c.all)
	}
	if c.affinity > 0 {
		fmt.Fprintf(&b, "-stay%d", int64(c.affinity/time.Second))
	}
	return b.String()
}

// cluster is the class of the cluster's own traffic to a frontend that is local for others.
func (c class) cluster() class { return class{source: keep, all: c.all, affinity: c.affinity} }

type (
	// slot is a place in the list of endpoints of a frontend.
	slot struct {
		Frontend
		number uint32
	}
	// member says that an endpoint belongs to a frontend with affinity.
	member struct {
		Frontend
		at netip.AddrPort
	}
)

// elements are the contents of the maps and sets in the kernel.
type elements struct {
	services  map[Frontend]string // the chain that chooses
	refused   map[Frontend]refusal
	endpoints map[slot]netip.AddrPort // of frontends without affinity
	sticky    map[slot]netip.AddrPort // of those with
	members   map[member]struct{}
	hairpin   map[netip.Addr]struct{}
	classes   map[string]class // of the chains
}

func newElements() elements {
	return elements{map[Frontend]string{}, map[Frontend]refusal{}, map[slot]netip.AddrPort{}, map[slot]netip.AddrPort{},
		map[member]struct{}{}, map[netip.Addr]struct{}{}, map[string]class{}}
}

func (e *elements) len() int {
	return len(e.services) + len(e.refused) + len(e.endpoints) + len(e.sticky) + len(e.members) + len(e.hairpin)
}

func (e *elements) merge(o elements) {
	maps.Copy(e.services, o.services)
	maps.Copy(e.refused, o.refused)
	maps.Copy(e.endpoints, o.endpoints)
	maps.Copy(e.sticky, o.sticky)
	maps.Copy(e.members, o.members)
	maps.Copy(e.hairpin, o.hairpin)
	maps.Copy(e.classes, o.classes)
}

// subtract takes away what o has.
func (e *elements) subtract(o elements) {
	without(e.services, o.services)
	without(e.refused, o.refused)
	without(e.endpoints, o.endpoints)
	without(e.sticky, o.sticky)
	without(e.members, o.members)
	without(e.hairpin, o.hairpin)
}

func without[K comparable, V any](from, these map[K]V) {
	for k := range these {
		delete(from, k)
	}
}

// at is the endpoint of a slot.
func (e *elements) at(s slot) (netip.AddrPort, bool) {
	at, ok := e.endpoints[s]
	if !ok {
		at, ok = e.sticky[s]
	}
	return at, ok
}

// difference is what leads from one state to another. What changed is in both.
type difference struct{ del, add elements }

func newDifference() difference { return difference{newElements(), newElements()} }

func (d *difference) len() int { return d.del.len() + d.add.len() }

// compare adds what leads from was to is, but for the hairpin addresses.
func (d *difference) compare(was, is elements) {
	changes(d.del.services, d.add.services, was.services, is.services)
	changes(d.del.refused, d.add.refused, was.refused, is.refused)
	changes(d.del.endpoints, d.add.endpoints, was.endpoints, is.endpoints)
	changes(d.del.sticky, d.add.sticky, was.sticky, is.sticky)
	changes(d.del.members, d.add.members, was.members, is.members)
	maps.Copy(d.add.classes, is.classes)
}

func changes[K, V comparable](del, add, was, is map[K]V) {
	missing(del, was, is)
	missing(add, is, was)
}

// missing copies into out what of a is not the same in b.
func missing[K, V comparable](out, a, b map[K]V) {
	for k, v := range a {
		if w, ok := b[k]; !ok || v != w {
			out[k] = v
		}
	}
}

// add adds the elements of a service port. owns says which frontends it won, and ordered what order the list had
// that begins at a slot.
func (e *elements) add(p *ServicePort, owns func(Frontend) bool, ordered func(slot) []netip.AddrPort) {
	l := lists{p: p, ordered: ordered}
	if owns(p.Internal) {
		e.internal(p, &l)
	}
	for _, x := range p.External {
		if owns(x.Frontend) {
			e.outward(p, x.Frontend, &l)
		}
	}
	for _, a := range p.Here {
		e.hairpin[a] = struct{}{}
	}
}

// lists are a port's lists of endpoints in the order that all of its frontends have them.
type lists struct {
	p         *ServicePort
	ordered   func(slot) []netip.AddrPort
	all, here []netip.AddrPort
}

// of is the list that begins at a slot, arranged like the present one of the first frontend that asks.
func (l *lists) of(head slot) []netip.AddrPort {
	list, want := &l.all, l.p.Cluster
	if head.number == localSlots {
		list, want = &l.here, l.p.Local
	}
	if len(*list) != len(want) {
		*list = arrange(l.ordered(head), want)
	}
	return *list
}

func (e *elements) internal(p *ServicePort, l *lists) {
	c := class{source: pods, affinity: p.Affinity}
	switch {
	case p.InternalLocal && len(p.Local) > 0:
		c.here = len(p.Local)
	case p.InternalLocal && len(p.Cluster) > 0:
		e.refused[p.Internal] = drop
		return
	case len(p.Cluster) == 0:
		e.refused[p.Internal] = reject
		return
	default:
		c.all = len(p.Cluster)
	}
	e.serve(p.Internal, c, l)
}

// outward adds an external frontend. With the policy Local, the cluster's own traffic still gets all endpoints.
func (e *elements) outward(p *ServicePort, f Frontend, l *lists) {
	if len(p.Cluster) == 0 {
		e.refused[f] = reject
		return
	}
	c := class{source: masquerade, all: len(p.Cluster), affinity: p.Affinity}
	if p.ExternalLocal {
		c.source, c.local, c.here = keep, true, len(p.Local)
	}
	if c.local && c.here == 0 {
		e.refused[f] = dropOutside
	}
	e.serve(f, c, l)
}

func (e *elements) serve(f Frontend, c class, l *lists) {
	name := c.chain()
	e.services[f], e.classes[name] = name, c
	if c.all > 0 {
		e.list(slot{f, 0}, c, l)
	}
	if c.here > 0 {
		e.list(slot{f, localSlots}, c, l)
	}
}

func (e *elements) list(head slot, c class, l *lists) {
	to := e.endpoints
	if c.affinity > 0 {
		to = e.sticky
	}
	for i, at := range l.of(head) {
		to[slot{head.Frontend, head.number + uint32(i)}] = at
		if c.affinity > 0 {
			e.members[member{head.Frontend, at}] = struct{}{}
		}
	}
}

// arrange puts want into the order of old, as far as it can: who stays keeps its place, and newcomers fill the gaps.
// So the difference of a list to its predecessor is in the order of what changed, not of its length.
func arrange(old, want []netip.AddrPort) []netip.AddrPort {
	missing := make(map[netip.AddrPort]struct{}, len(want))
	for _, at := range want {
		missing[at] = struct{}{}
	}
	out := make([]netip.AddrPort, len(want))
	for i, at := range old {
		if _, ok := missing[at]; ok && i < len(out) {
			out[i] = at
			delete(missing, at)
		}
	}
	free := 0
	for _, at := range want {
		if _, ok := missing[at]; !ok {
			continue
		}
		for out[free].IsValid() {
			free++
		}
		out[free] = at
	}
	return out
}
