package endpointslice

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bedplate/bedplate/reconcile/controllers/endpointslice/backend"
)

// ManagedBy is the value of the label endpointslice.kubernetes.io/managed-by on the controller's slices.
const ManagedBy = "endpointslice-controller.k8s.io"

// World is what the controller sees of a service. Nothing in it is changed.
type World struct {
	Service *corev1.Service
	// Pods are those that the service selects, ordered by name.
	Pods []*backend.Pod
	// Zone is the zone of a node, empty if it has none; false if there is no such node.
	Zone func(node string) (zone string, known bool)
	// Slices are those of the service, as far as they are the controller's.
	Slices []*discoveryv1.EndpointSlice
	// Max is how many endpoints a slice holds. 0: 100.
	Max int
	// Changed is when that happened which is to be written; zero: unknown.
	Changed time.Time
}

// Plan is what is to be written. The objects are the caller's own, apart from those to delete, but endpoints may
// share what they point to.
type Plan struct {
	Create, Update, Delete []*discoveryv1.EndpointSlice
}

// Writes is how many calls the plan takes.
func (p Plan) Writes() int { return len(p.Create) + len(p.Update) + len(p.Delete) }

// Diff compares what is with what should be. It is a pure function: slices stay as they are where they can, those
// that change anyway take what is new, and a slice that would go is made into one that would come. So the change
// of one pod is one write.
func Diff(w World) Plan {
	d := differ{World: w, labels: Labels(w.Service), places: map[string]place{}, yes: true}
	if d.Max <= 0 {
		d.Max = 100
	}
	have := map[discoveryv1.AddressType][]*discoveryv1.EndpointSlice{}
	families := Families(w.Service)
	for _, s := range slices.SortedFunc(slices.Values(w.Slices), byName) {
		switch {
		case s.DeletionTimestamp != nil:
		case !metav1.IsControlledBy(s, w.Service) || !slices.Contains(families, corev1.IPFamily(s.AddressType)):
			d.plan.Delete = append(d.plan.Delete, s)
		default:
			have[s.AddressType] = append(have[s.AddressType], s)
		}
	}
	for _, f := range families {
		d.family(f, have[discoveryv1.AddressType(f)])
	}
	d.reuse()
	if w.Service.DeletionTimestamp != nil {
		d.plan.Create = nil
	}
	return d.plan
}

func byName(a, b *discoveryv1.EndpointSlice) int { return cmp.Compare(a.Name, b.Name) }

// Families are the address families of a service's endpoints.
func Families(s *corev1.Service) []corev1.IPFamily {
	switch ip := s.Spec.ClusterIP; {
	case len(s.Spec.IPFamilies) > 0:
		return s.Spec.IPFamilies
	case backend.Headless(s):
		return []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}
	case strings.Contains(ip, ":"):
		return []corev1.IPFamily{corev1.IPv6Protocol}
	}
	return []corev1.IPFamily{corev1.IPv4Protocol}
}

// Labels are those of a service's slices: the service's own, and those by which slices are known.
func Labels(s *corev1.Service) map[string]string {
	out := make(map[string]string, len(s.Labels)+3)
	maps.Copy(out, s.Labels)
	delete(out, corev1.IsHeadlessService)
	if backend.Headless(s) {
		out[corev1.IsHeadlessService] = ""
	}
	out[discoveryv1.LabelServiceName] = s.Name
	out[discoveryv1.LabelManagedBy] = ManagedBy
	return out
}

// differ makes a plan.
type differ struct {
	World
	labels  map[string]string
	places  map[string]place
	yes, no bool // what flags point to
	plan    Plan
}

// group is the endpoints that have the same ports, and so can share slices.
type group struct {
	kind      discoveryv1.AddressType
	ports     []discoveryv1.EndpointPort
	endpoints []discoveryv1.Endpoint
}

// family plans the slices of one address family. Where there are no endpoints, there is one slice without any.
func (d *differ) family(f corev1.IPFamily, have []*discoveryv1.EndpointSlice) {
	groups := d.groups(f)
	if len(groups) == 0 {
		groups[""] = &group{kind: discoveryv1.AddressType(f)}
	}
	existing := map[string][]*discoveryv1.EndpointSlice{}
	for _, s := range have {
		key := portsKey(s.Ports)
		if groups[key] == nil {
			d.plan.Delete = append(d.plan.Delete, s)
			continue
		}
		existing[key] = append(existing[key], s)
	}
	for _, key := range slices.Sorted(maps.Keys(groups)) {
		d.fill(groups[key], existing[key])
	}
}

// portion is a slice while it is filled.
type portion struct {
	have      *discoveryv1.EndpointSlice // nil: new
	endpoints []discoveryv1.Endpoint
	changed   bool
}

// fill spreads a group's endpoints over the slices that there are, and new ones.
func (d *differ) fill(g *group, have []*discoveryv1.EndpointSlice) {
	portions, rest := d.keep(g, have)
	d.place(&portions, rest)
	kept := 0
	for _, p := range portions {
		if len(p.endpoints) > 0 {
			kept++
		}
	}
	for _, p := range portions {
		switch {
		case len(p.endpoints) == 0 && kept > 0:
			d.plan.Delete = append(d.plan.Delete, p.have)
			continue
		case len(p.endpoints) == 0:
			kept++ // one stays, to say that there are none
		}
		d.write(g, p)
	}
	if kept == 0 {
		d.write(g, &portion{changed: true})
	}
}

// keep takes out of slices what should not be there, mends the others, and returns what stands in none.
func (d *differ) keep(g *group, have []*discoveryv1.EndpointSlice) (portions []*portion, rest []discoveryv1.Endpoint) {
	left := make(map[id]int, len(g.endpoints))
	for n, e := range g.endpoints {
		left[idOf(e)] = n
	}
	for _, s := range have {
		p := &portion{have: s, endpoints: make([]discoveryv1.Endpoint, 0, len(s.Endpoints))}
		p.changed = !maps.Equal(s.Labels, d.labels)
		for _, e := range s.Endpoints {
			n, wanted := left[idOf(e)]
			if !wanted || len(p.endpoints) == d.Max {
				p.changed = true
				continue
			}
			delete(left, idOf(e))
			p.changed = p.changed || !sameEndpoint(&e, &g.endpoints[n])
			p.endpoints = append(p.endpoints, g.endpoints[n])
		}
		portions = append(portions, p)
	}
	for _, n := range slices.Sorted(maps.Values(left)) {
		rest = append(rest, g.endpoints[n])
	}
	return portions, rest
}

// place puts endpoints into the slices that are written anyway, the fullest first; what is left into one that has
// room for all of it, and if there is none, into new ones.
func (d *differ) place(portions *[]*portion, rest []discoveryv1.Endpoint) {
	fullest := slices.SortedStableFunc(slices.Values(*portions), func(a, b *portion) int {
		return -cmp.Compare(len(a.endpoints), len(b.endpoints))
	})
	for _, p := range fullest {
		if p.changed {
			rest = d.pour(p, rest)
		}
	}
	for len(rest) > 0 {
		at := slices.IndexFunc(fullest, func(p *portion) bool { return !p.changed && len(p.endpoints)+len(rest) <= d.Max })
		if at < 0 {
			p := &portion{}
			*portions = append(*portions, p)
			rest = d.pour(p, rest)
			continue
		}
		rest = d.pour(fullest[at], rest)
	}
}

// pour fills a slice and returns what it had no room for.
func (d *differ) pour(p *portion, rest []discoveryv1.Endpoint) []discoveryv1.Endpoint {
	n := min(d.Max-len(p.endpoints), len(rest))
	if n > 0 {
		p.endpoints, p.changed = append(p.endpoints, rest[:n]...), true
	}
	return rest[n:]
}

// write plans to write a slice, if it changed.
func (d *differ) write(g *group, p *portion) {
	if !p.changed {
		return
	}
	if p.have == nil {
		d.plan.Create = append(d.plan.Create, d.slice(g, p.endpoints))
		return
	}
	d.plan.Update = append(d.plan.Update, d.into(p.have, d.slice(g, p.endpoints)))
}

// reuse makes slices that are to go into those that are to come. Another service's are let go.
func (d *differ) reuse() {
	d.plan.Delete = slices.DeleteFunc(d.plan.Delete, func(s *discoveryv1.EndpointSlice) bool {
		at := slices.IndexFunc(d.plan.Create, func(n *discoveryv1.EndpointSlice) bool { return n.AddressType == s.AddressType })
		if at < 0 || !metav1.IsControlledBy(s, d.Service) {
			return false
		}
		d.plan.Update = append(d.plan.Update, d.into(s, d.plan.Create[at]))
		d.plan.Create = slices.Delete(d.plan.Create, at, at+1)
		return true
	})
}

// slice makes a new one.
func (d *differ) slice(g *group, endpoints []discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: d.Service.Namespace, GenerateName: d.Service.Name + "-", Labels: maps.Clone(d.labels),
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(d.Service, corev1.SchemeGroupVersion.WithKind("Service"))},
		},
		AddressType: g.kind,
		Endpoints:   slices.Clone(endpoints),
		Ports:       slices.Clone(g.ports),
	}
	if s.Endpoints == nil {
		s.Endpoints = []discoveryv1.Endpoint{}
	}
	if s.Ports == nil {
		s.Ports = []discoveryv1.EndpointPort{}
	}
	d.stamp(s)
	return s
}

// into is a slice with the contents of another.
func (d *differ) into(have, contents *discoveryv1.EndpointSlice) *discoveryv1.EndpointSlice {
	s := have.DeepCopy()
	s.Labels, s.Endpoints, s.Ports = contents.Labels, contents.Endpoints, contents.Ports
	d.stamp(s)
	return s
}

// stamp notes when that happened which is written.
func (d *differ) stamp(s *discoveryv1.EndpointSlice) {
	delete(s.Annotations, corev1.EndpointsLastChangeTriggerTime)
	if d.Changed.IsZero() {
		return
	}
	if s.Annotations == nil {
		s.Annotations = map[string]string{}
	}
	s.Annotations[corev1.EndpointsLastChangeTriggerTime] = d.Changed.UTC().Format(time.RFC3339Nano)
}

// id is what makes an endpoint the same one, however its state changes.
type id struct {
	addresses       string
	namespace, name string
	uid             types.UID
}

func idOf(e discoveryv1.Endpoint) id {
	i := id{}
	switch len(e.Addresses) {
	case 0:
	case 1:
		i.addresses = e.Addresses[0]
	default:
		i.addresses = strings.Join(e.Addresses, ",")
	}
	if e.TargetRef != nil {
		i.namespace, i.name, i.uid = e.TargetRef.Namespace, e.TargetRef.Name, e.TargetRef.UID
	}
	return i
}
