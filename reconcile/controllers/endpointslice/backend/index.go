package backend

import (
	"cmp"
	"maps"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
)

// pair is a label in a namespace.
type pair struct{ namespace, key, value string }

// node is what is known of a node.
type node struct {
	zone  string
	known bool
}

// state is what the index knows, with pure steps that say which services see a difference.
type state struct {
	pods     map[string]*Pod                       // by key
	labelled map[pair]map[string]*Pod              // by each of their labels, and key
	on       map[string]map[string]*Pod            // by node, and key
	services map[string]service                    // by key
	wanting  map[pair]map[string]map[string]string // selectors, by one of their labels, and the service's key
	nodes    map[string]node
}

// service is a selector, and the one of its labels under which it is found.
type service struct {
	selector map[string]string
	at       pair
}

func newState() *state {
	return &state{
		pods: map[string]*Pod{}, labelled: map[pair]map[string]*Pod{}, on: map[string]map[string]*Pod{},
		services: map[string]service{}, wanting: map[pair]map[string]map[string]string{}, nodes: map[string]node{},
	}
}

// put puts a value in a map of maps; drop takes it out again.
func put[K comparable, V any](m map[K]map[string]V, k K, key string, v V) {
	if m[k] == nil {
		m[k] = map[string]V{}
	}
	m[k][key] = v
}

func drop[K comparable, V any](m map[K]map[string]V, k K, key string) {
	if delete(m[k], key); len(m[k]) == 0 {
		delete(m, k)
	}
}

// setPod takes a pod's new state, nil if nothing can lead to it any more, and returns the services that see it.
func (s *state) setPod(key string, now *Pod) (services []string) {
	old := s.pods[key]
	if old != nil {
		if now != nil && same(old, now) && sameLabels(old, now) && old.Since.Equal(now.Since) {
			return nil
		}
		s.removePod(key, old)
	}
	if now != nil {
		s.pods[key] = now
		for k, v := range now.labels {
			put(s.labelled, pair{now.Namespace, k, v}, key, now)
		}
		put(s.on, now.Node, key, now)
	}
	switch was, is := s.selecting(old), s.selecting(now); {
	case !same(old, now):
		return union(was, is)
	case !sameLabels(old, now):
		return difference(was, is)
	}
	return nil
}

func (s *state) removePod(key string, p *Pod) {
	delete(s.pods, key)
	for k, v := range p.labels {
		drop(s.labelled, pair{p.Namespace, k, v}, key)
	}
	drop(s.on, p.Node, key)
}

// selecting are the services that select a pod.
func (s *state) selecting(p *Pod) (keys []string) {
	if p == nil {
		return nil
	}
	for k, v := range p.labels {
		for key, selector := range s.wanting[pair{p.Namespace, k, v}] {
			if p.matches(selector) {
				keys = append(keys, key)
			}
		}
	}
	return keys
}

func union(a, b []string) []string {
	out := slices.Concat(a, b)
	slices.Sort(out)
	return slices.Compact(out)
}

func difference(a, b []string) (out []string) {
	for _, key := range union(a, b) {
		if slices.Contains(a, key) != slices.Contains(b, key) {
			out = append(out, key)
		}
	}
	return out
}

// setService takes a service's selector; empty if it is gone, or has none.
func (s *state) setService(key, namespace string, selector map[string]string) {
	if have, ok := s.services[key]; ok {
		if maps.Equal(have.selector, selector) {
			return
		}
		drop(s.wanting, have.at, key)
		delete(s.services, key)
	}
	if len(selector) == 0 {
		return
	}
	now := service{selector, s.rarest(namespace, selector, func(p pair) int { return len(s.wanting[p]) })}
	s.services[key] = now
	put(s.wanting, now.at, key, selector)
}

// rarest is the label of a selector that has the fewest of something.
func (s *state) rarest(namespace string, selector map[string]string, count func(pair) int) (best pair) {
	least := -1
	for _, k := range slices.Sorted(maps.Keys(selector)) {
		p := pair{namespace, k, selector[k]}
		if n := count(p); least < 0 || n < least {
			best, least = p, n
		}
	}
	return best
}

// setNode takes what is known of a node, and returns the services whose pods run there, if that changed.
func (s *state) setNode(name string, now node) (services []string) {
	if s.nodes[name] == now {
		return nil
	}
	if s.nodes[name] = now; !now.known {
		delete(s.nodes, name)
	}
	for _, p := range s.on[name] {
		services = append(services, s.selecting(p)...)
	}
	return union(services, nil)
}

// behind are the pods that a selector selects, ordered by name.
func (s *state) behind(namespace string, selector map[string]string) (pods []*Pod) {
	if len(selector) == 0 {
		return nil
	}
	from := s.rarest(namespace, selector, func(p pair) int { return len(s.labelled[p]) })
	for _, p := range s.labelled[from] {
		if p.matches(selector) {
			pods = append(pods, p)
		}
	}
	slices.SortFunc(pods, func(a, b *Pod) int { return cmp.Compare(a.Name, b.Name) })
	return pods
}

// Index finds the pods behind a service, and the services before a pod, without looking at all of them. It holds a
// [Pod] for each pod that has an address. All methods may be called concurrently.
type Index struct {
	mu      sync.RWMutex
	s       *state
	hearing map[*func(string)]struct{}
}

// Pods returns the pods that a service selects, ordered by name. They are shared: nobody may change them.
func (x *Index) Pods(s *corev1.Service) []*Pod {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.s.behind(s.Namespace, s.Spec.Selector)
}

// Zone is the zone that a node says it is in, empty if it says none; false if there is no such node.
func (x *Index) Zone(name string) (zone string, known bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	n := x.s.nodes[name]
	return n.zone, n.known
}

// change makes a step and tells who listens about the services that see a difference.
func (x *Index) change(step func(*state) []string) {
	x.mu.Lock()
	keys := step(x.s)
	var tell []*func(string)
	if len(keys) > 0 {
		tell = slices.Collect(maps.Keys(x.hearing))
	}
	x.mu.Unlock()
	for _, t := range tell {
		for _, key := range keys {
			(*t)(key)
		}
	}
}

func (x *Index) pod(key string, p *corev1.Pod) {
	var now *Pod
	if p != nil {
		if of, ok := Of(p); ok {
			now = of
		}
	}
	x.change(func(s *state) []string { return s.setPod(key, now) })
}

// service makes no service be told of: whoever works on services hears of theirs anyway.
func (x *Index) service(key string, svc *corev1.Service) {
	var namespace string
	var selector map[string]string
	if svc != nil && Selects(svc) {
		namespace, selector = svc.Namespace, svc.Spec.Selector
	}
	x.change(func(s *state) []string {
		s.setService(key, namespace, selector)
		return nil
	})
}

func (x *Index) node(name string, n *corev1.Node) {
	var now node
	if n != nil {
		now = node{n.Labels[corev1.LabelTopologyZone], true}
	}
	x.change(func(s *state) []string { return s.setNode(name, now) })
}

// hear calls f with the keys of services until stop; in the beginning with all.
func (x *Index) hear(f func(key string)) (stop func()) {
	x.mu.Lock()
	x.hearing[&f] = struct{}{}
	all := slices.Collect(maps.Keys(x.s.services))
	x.mu.Unlock()
	for _, key := range all {
		f(key)
	}
	return func() {
		x.mu.Lock()
		defer x.mu.Unlock()
		delete(x.hearing, &f)
	}
}
