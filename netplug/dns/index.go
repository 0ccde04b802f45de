package dns

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	miekg "github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// SchemaVersion is the version of the specification that the records follow: what dns-version.<domain> says.
const SchemaVersion = "1.1.0"

// PodMode says which names of pods are answered.
type PodMode string

// The modes of names of pods.
const (
	// PodsVerified answers for addresses that a pod of the namespace has. It costs an informer of pods.
	PodsVerified PodMode = "verified"
	// PodsInsecure answers for any address in a namespace that exists: whoever trusts such a name, trusts anybody.
	PodsInsecure PodMode = "insecure"
	// PodsDisabled answers none.
	PodsDisabled PodMode = "disabled"
)

// IndexConfig says what an index answers for. The zero value works.
type IndexConfig struct {
	// Domain of the cluster. Default "cluster.local".
	Domain string
	// Ranges are those of the cluster's services and pods: an address in them that has no name is NXDOMAIN. Other
	// addresses are answered where they are known, and are not the index's own where they aren't.
	Ranges []netip.Prefix
	// Addresses are those of ns.dns.<domain>, where clients find this server. They may be left out.
	Addresses []netip.Addr
	// Pods says which names of pods are answered. Default PodsVerified.
	Pods PodMode
	// TTL of records and of the SOA that goes with negative answers, in whole seconds. Default 5 s.
	TTL time.Duration
}

func (c *IndexConfig) validate() error {
	if c.Domain == "" {
		c.Domain = "cluster.local"
	}
	c.Domain = miekg.CanonicalName(c.Domain)
	if _, ok := miekg.IsDomainName(c.Domain); !ok || c.Domain == "." || strings.Contains(c.Domain, `\`) {
		return fmt.Errorf("Domain %q is no domain name", c.Domain)
	}
	if c.Pods == "" {
		c.Pods = PodsVerified
	}
	if c.Pods != PodsVerified && c.Pods != PodsInsecure && c.Pods != PodsDisabled {
		return fmt.Errorf("Pods is %q: it must be verified, insecure or disabled", c.Pods)
	}
	for _, r := range c.Ranges {
		if !r.IsValid() || r.Addr().Is4In6() {
			return errors.New("Ranges has one that is no prefix of IPv4 or IPv6")
		}
	}
	if c.TTL == 0 {
		c.TTL = 5 * time.Second
	}
	if c.TTL < 0 || c.TTL > 24*time.Hour {
		return errors.New("TTL must be between 0 and a day")
	}
	return nil
}

// key names something in a namespace, in lower case.
type key struct{ namespace, name string }

// service is what is known of one.
type service struct {
	key
	headless bool
	notReady bool // publishNotReadyAddresses
	external string
	addrs    []netip.Addr
	ports    []port
}

// port of a service or of a slice's endpoints; name and protocol are in lower case.
type port struct {
	name, protocol string
	number         uint16
}

// slice is an EndpointSlice.
type slice struct {
	service   key
	endpoints []endpoint
	ports     []port
}

type endpoint struct {
	addr  netip.Addr
	host  string // "" where it is the address with dashes
	ready bool
}

// Index answers questions about a cluster from what it was told. It holds a few words for each address, port and
// name, so that its memory is bounded by theirs. All methods may be called concurrently; objects that are handed in
// are neither changed nor kept.
type Index struct {
	c   IndexConfig
	ttl uint32

	mu         sync.RWMutex
	serial     uint32 // counts changes
	namespaces map[string]struct{}
	services   map[key]*service
	slices     map[key]*slice
	slicesOf   map[key][]key        // by service, ordered
	byAddr     map[netip.Addr][]key // services by their own addresses
	byEndpoint map[netip.Addr][]key // slices of headless services, by the addresses of their endpoints
	pods       map[key][]netip.Addr
	podAddrs   map[podAddr]int // how many pods have it
}

type podAddr struct {
	namespace string
	addr      netip.Addr
}

// NewIndex returns an empty index.
func NewIndex(c IndexConfig) (*Index, error) {
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("configure the index of names: %w", err)
	}
	return &Index{
		c: c, ttl: uint32(c.TTL / time.Second), namespaces: map[string]struct{}{},
		services: map[key]*service{}, slices: map[key]*slice{}, slicesOf: map[key][]key{},
		byAddr: map[netip.Addr][]key{}, byEndpoint: map[netip.Addr][]key{},
		pods: map[key][]netip.Addr{}, podAddrs: map[podAddr]int{},
	}, nil
}

// SetNamespace tells of a namespace that exists.
func (x *Index) SetNamespace(name string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if _, had := x.namespaces[name]; !had {
		x.namespaces[name] = struct{}{}
		x.serial++
	}
}

// DeleteNamespace tells of one that is gone.
func (x *Index) DeleteNamespace(name string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.namespaces, name)
	x.serial++
}

// SetService tells of a service as it is now.
func (x *Index) SetService(s *corev1.Service) {
	is := serviceOf(s)
	x.mu.Lock()
	defer x.mu.Unlock()
	x.unlink(is.key)
	x.services[is.key] = is
	for _, a := range is.addrs {
		x.byAddr[a] = append(x.byAddr[a], is.key)
	}
	if is.headless {
		for _, k := range x.slicesOf[is.key] {
			x.linkSlice(k)
		}
	}
	x.serial++
}

// DeleteService tells of one that is gone.
func (x *Index) DeleteService(namespace, name string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	k := key{namespace, name}
	x.unlink(k)
	delete(x.services, k)
	x.serial++
}

// unlink takes a service off the addresses that lead to it.
func (x *Index) unlink(k key) {
	s, ok := x.services[k]
	if !ok {
		return
	}
	for _, a := range s.addrs {
		drop(x.byAddr, a, k)
	}
	if s.headless {
		for _, k := range x.slicesOf[k] {
			x.unlinkSlice(k)
		}
	}
}

func serviceOf(s *corev1.Service) *service {
	is := &service{key: key{s.Namespace, s.Name}, notReady: s.Spec.PublishNotReadyAddresses}
	if s.Spec.Type == corev1.ServiceTypeExternalName {
		if _, ok := miekg.IsDomainName(s.Spec.ExternalName); ok && s.Spec.ExternalName != "" {
			is.external = miekg.Fqdn(s.Spec.ExternalName)
		}
		return is
	}
	ips := s.Spec.ClusterIPs
	if len(ips) == 0 && s.Spec.ClusterIP != "" {
		ips = []string{s.Spec.ClusterIP}
	}
	for _, ip := range ips {
		if a, err := netip.ParseAddr(ip); err == nil && !slices.Contains(is.addrs, a) {
			is.addrs = append(is.addrs, a)
		}
		is.headless = is.headless || ip == corev1.ClusterIPNone
	}
	for _, p := range s.Spec.Ports {
		is.ports = append(is.ports, port{strings.ToLower(p.Name), protocol(p.Protocol), uint16(p.Port)})
	}
	return is
}

func protocol(p corev1.Protocol) string {
	if p == "" {
		p = corev1.ProtocolTCP
	}
	return strings.ToLower(string(p))
}

// SetSlice tells of a slice as it is now. Those of no service, and those whose addresses are names, say nothing.
func (x *Index) SetSlice(s *discoveryv1.EndpointSlice) {
	k, is := key{s.Namespace, s.Name}, sliceOf(s)
	x.mu.Lock()
	defer x.mu.Unlock()
	x.dropSlice(k)
	if is != nil {
		x.slices[k] = is
		of := x.slicesOf[is.service]
		at, _ := slices.BinarySearchFunc(of, k, func(a, b key) int { return strings.Compare(a.name, b.name) })
		x.slicesOf[is.service] = slices.Insert(of, at, k)
		if service, ok := x.services[is.service]; ok && service.headless {
			x.linkSlice(k)
		}
	}
	x.serial++
}

// DeleteSlice tells of one that is gone.
func (x *Index) DeleteSlice(namespace, name string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.dropSlice(key{namespace, name})
	x.serial++
}

func (x *Index) dropSlice(k key) {
	is, ok := x.slices[k]
	if !ok {
		return
	}
	x.unlinkSlice(k)
	drop(x.slicesOf, is.service, k)
	delete(x.slices, k)
}

func (x *Index) linkSlice(k key) {
	for _, e := range x.slices[k].endpoints {
		if !slices.Contains(x.byEndpoint[e.addr], k) {
			x.byEndpoint[e.addr] = append(x.byEndpoint[e.addr], k)
		}
	}
}

func (x *Index) unlinkSlice(k key) {
	for _, e := range x.slices[k].endpoints {
		drop(x.byEndpoint, e.addr, k)
	}
}

func sliceOf(s *discoveryv1.EndpointSlice) *slice {
	name := s.Labels[discoveryv1.LabelServiceName]
	if name == "" || s.AddressType == discoveryv1.AddressTypeFQDN {
		return nil
	}
	is := &slice{service: key{s.Namespace, name}}
	for i := range s.Endpoints {
		e := &s.Endpoints[i]
		one := endpoint{ready: e.Conditions.Ready == nil || *e.Conditions.Ready}
		if e.Hostname != nil {
			one.host = strings.ToLower(*e.Hostname)
		}
		for _, text := range e.Addresses {
			if a, err := netip.ParseAddr(text); err == nil {
				one.addr = a.Unmap()
				is.endpoints = append(is.endpoints, one)
			}
		}
	}
	for _, p := range s.Ports {
		if p.Port == nil {
			continue
		}
		one := port{protocol: "tcp", number: uint16(*p.Port)}
		if p.Name != nil {
			one.name = strings.ToLower(*p.Name)
		}
		if p.Protocol != nil {
			one.protocol = protocol(*p.Protocol)
		}
		is.ports = append(is.ports, one)
	}
	return is
}

// SetPod tells of a pod as it is now. One that has ended has no name any more.
func (x *Index) SetPod(p *corev1.Pod) {
	var addrs []netip.Addr
	if p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed {
		for _, ip := range p.Status.PodIPs {
			if a, err := netip.ParseAddr(ip.IP); err == nil {
				addrs = append(addrs, a.Unmap())
			}
		}
	}
	x.setPod(key{p.Namespace, p.Name}, addrs)
}

// DeletePod tells of one that is gone.
func (x *Index) DeletePod(namespace, name string) { x.setPod(key{namespace, name}, nil) }

func (x *Index) setPod(k key, addrs []netip.Addr) {
	x.mu.Lock()
	defer x.mu.Unlock()
	had := x.pods[k]
	if slices.Equal(had, addrs) {
		return
	}
	for _, a := range had {
		at := podAddr{k.namespace, a}
		if x.podAddrs[at]--; x.podAddrs[at] == 0 {
			delete(x.podAddrs, at)
		}
	}
	for _, a := range addrs {
		x.podAddrs[podAddr{k.namespace, a}]++
	}
	x.pods[k] = addrs
	if len(addrs) == 0 {
		delete(x.pods, k)
	}
	x.serial++
}

// drop takes a value off a key's list, and an empty list off the map.
func drop[K comparable](m map[K][]key, k K, v key) {
	l := m[k]
	if at := slices.Index(l, v); at >= 0 {
		l = slices.Delete(l, at, at+1)
	}
	if len(l) == 0 {
		delete(m, k)
		return
	}
	m[k] = l
}
