package proxy

import (
	"cmp"
	"net/netip"
	"slices"
)

// ruleSet holds all service ports of a node and what they amount to in the kernel. It does no I/O. Not for
// concurrent use.
type ruleSet struct {
	ports   map[string][]ServicePort // by service
	made    map[string]elements      // by service: what it contributes
	claims  map[Frontend][]claim     // the winner first
	hairpin map[netip.Addr]int       // how many services have an endpoint there
	prior   elements                 // what the kernel had before; only the order of endpoints matters
	all     elements
}

// claim is a service port's wish for a frontend.
type claim struct {
	port *ServicePort
	rank Rank
}

func newRuleSet() *ruleSet {
	return &ruleSet{map[string][]ServicePort{}, map[string]elements{}, map[Frontend][]claim{},
		map[netip.Addr]int{}, elements{}, newElements()}
}

// ordered is the present order of a list: that of the last update or, before the first, that of prior.
func (r *ruleSet) ordered(head slot) (list []netip.AddrPort) {
	from := &r.all
	if _, ok := from.at(head); !ok {
		from = &r.prior
	}
	for ; ; head.number++ {
		at, ok := from.at(head)
		if !ok || len(list) == maxEndpoints {
			return list
		}
		list = append(list, at)
	}
}

// update replaces the ports of services (none: the service is gone) and returns the difference.
func (r *ruleSet) update(changes map[string][]ServicePort) difference {
	dirty := map[string]struct{}{}
	for key, ports := range changes {
		dirty[key] = struct{}{}
		r.reclaim(key, ports, dirty)
	}
	return r.rebuild(dirty)
}

// reclaim withdraws a service's claims and enters its new ones. Services that win or lose a frontend become dirty.
func (r *ruleSet) reclaim(key string, ports []ServicePort, dirty map[string]struct{}) {
	winners := map[Frontend]string{}
	note := func(f Frontend) {
		if _, ok := winners[f]; !ok {
			winners[f] = r.winner(f)
		}
	}
	for i := range r.ports[key] {
		for f := range r.ports[key][i].wishes() {
			note(f)
			r.withdraw(f, key)
		}
	}
	delete(r.ports, key)
	if len(ports) > 0 {
		r.ports[key] = ports
	}
	for i := range ports {
		for f, rank := range ports[i].wishes() {
			note(f)
			r.enter(f, claim{&ports[i], rank})
		}
	}
	for f, before := range winners {
		if after := r.winner(f); after != before {
			dirty[before], dirty[after] = struct{}{}, struct{}{}
		}
	}
	delete(dirty, "")
}

// wishes yields the frontends that a port would have.
func (p *ServicePort) wishes() map[Frontend]Rank {
	w := make(map[Frontend]Rank, 1+len(p.External))
	for _, x := range slices.Backward(p.External) {
		w[x.Frontend] = x.Rank
	}
	w[p.Internal] = ClusterIP
	return w
}

func (r *ruleSet) enter(f Frontend, c claim) {
	all := append(r.claims[f], c)
	slices.SortStableFunc(all, func(a, b claim) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), a.port.Created.Compare(b.port.Created),
			cmp.Compare(a.port.Service, b.port.Service), cmp.Compare(a.port.Name, b.port.Name))
	})
	r.claims[f] = all
}

func (r *ruleSet) withdraw(f Frontend, key string) {
	left := slices.DeleteFunc(r.claims[f], func(c claim) bool { return c.port.Service == key })
	if len(left) == 0 {
		delete(r.claims, f)
		return
	}
	r.claims[f] = left
}

func (r *ruleSet) winner(f Frontend) string {
	if p := r.owner(f); p != nil {
		return p.Service
	}
	return ""
}

// owner is the port that has a frontend; nil if none has.
func (r *ruleSet) owner(f Frontend) *ServicePort {
	if all := r.claims[f]; len(all) > 0 {
		return all[0].port
	}
	return nil
}

// rebuild makes the elements of dirty services anew and returns how all elements changed.
func (r *ruleSet) rebuild(dirty map[string]struct{}) difference {
	d := newDifference()
	hairpin := map[netip.Addr]int{}
	for key := range dirty {
		was, is := r.made[key], r.elementsOf(key)
		d.compare(was, is)
		for a := range was.hairpin {
			hairpin[a]--
		}
		for a := range is.hairpin {
			hairpin[a]++
		}
		r.remember(key, is)
	}
	r.count(hairpin, &d)
	r.all.subtract(d.del)
	r.all.merge(d.add)
	return d
}

func (r *ruleSet) elementsOf(key string) elements {
	e := newElements()
	for i := range r.ports[key] {
		p := &r.ports[key][i]
		e.add(p, func(f Frontend) bool { return r.owner(f) == p }, r.ordered)
	}
	return e
}

func (r *ruleSet) remember(key string, e elements) {
	if r.made[key] = e; len(r.ports[key]) == 0 {
		delete(r.made, key)
	}
}

// count adds to the counts of the hairpin addresses, and to d those which became used or unused.
func (r *ruleSet) count(by map[netip.Addr]int, d *difference) {
	for a, n := range by {
		before := r.hairpin[a]
		after := before + n
		switch {
		case before == 0 && after > 0:
			d.add.hairpin[a] = struct{}{}
		case before > 0 && after == 0:
			d.del.hairpin[a] = struct{}{}
		}
		if r.hairpin[a] = after; after == 0 {
			delete(r.hairpin, a)
		}
	}
}

// prune forgets the classes that no frontend is of.
func (r *ruleSet) prune() {
	used := map[string]class{}
	for _, name := range r.all.services {
		used[name] = r.all.classes[name]
	}
	r.all.classes = used
}

// from is the difference that leads from what the kernel has to what it should have.
func (r *ruleSet) from(was elements) difference {
	d := newDifference()
	d.compare(was, r.all)
	changes(d.del.hairpin, d.add.hairpin, was.hairpin, r.all.hairpin)
	return d
}
