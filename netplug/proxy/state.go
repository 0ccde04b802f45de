package proxy

import (
	"fmt"
	"net/netip"
	"time"
)

// Protocol is an IP protocol by its number.
type Protocol uint8

// The protocols that a service may have.
const (
	TCP  Protocol = 6
	UDP  Protocol = 17
	SCTP Protocol = 132
)

// String implements fmt.Stringer: "TCP".
func (p Protocol) String() string {
	switch p {
	case TCP:
		return "TCP"
	case UDP:
		return "UDP"
	case SCTP:
		return "SCTP"
	}
	return fmt.Sprintf("protocol %d", uint8(p))
}

// Frontend is where clients connect to.
type Frontend struct {
	Addr     netip.Addr
	Protocol Protocol
	Port     uint16
}

// String implements fmt.Stringer: "10.96.0.1:443/TCP".
func (f Frontend) String() string {
	return fmt.Sprintf("%s/%s", netip.AddrPortFrom(f.Addr, f.Port), f.Protocol)
}

// Node is what the rules depend on beside services and endpoints.
type Node struct {
	// Name of the node, as in the endpoints' nodeName. Needed for the traffic policy Local.
	Name string
	// Zone of the node (topology.kubernetes.io/zone); "": hints for zones are not heeded.
	Zone string
	// Addresses are where node ports answer: addresses of this node, IPv4 and not loopback. None: no node ports.
	Addresses []netip.Addr
	// ExternalIPs are the ranges in which a service's externalIPs are honoured; others are left out. None: no
	// external IPs, as any user who may write a Service could claim any address with them (CVE-2020-8554).
	ExternalIPs []netip.Prefix
}

// Rank orders the claims to a frontend: the lowest wins.
type Rank uint8

// The ranks, from the strongest claim to the weakest.
const (
	ClusterIP Rank = iota
	NodePort
	LoadBalancer
	ExternalIP
)

// External is a frontend of a service beside its cluster IP.
type External struct {
	Frontend
	Rank Rank
}

// ServicePort is one port of a service, as one node has to treat it.
type ServicePort struct {
	// Service is "namespace/name", Name the port's.
	Service, Name string
	// Created is when the service was: of two claims of one rank to a frontend, the older wins.
	Created time.Time
	// Internal is the cluster IP's frontend.
	Internal Frontend
	// External are the other frontends.
	External []External
	// InternalLocal and ExternalLocal are the traffic policies.
	InternalLocal, ExternalLocal bool
	// Affinity is for how long a client stays with an endpoint after its last new connection; 0: not at all.
	Affinity time.Duration
	// Cluster and Local are the endpoints to choose from, all and those of this node, each sorted.
	Cluster, Local []netip.AddrPort
	// Serving are all endpoints that still answer, whether or not new connections go there.
	Serving []netip.AddrPort
	// Here are the addresses of endpoints on this node.
	Here []netip.Addr
}

// refusal is what happens to new connections that can't be served.
type refusal uint8

const (
	// reject answers with a TCP reset or an ICMP message: there is no endpoint anywhere.
	reject refusal = iota + 1
	// drop is silent, so that a load balancer or another node may be tried: there are endpoints, but not here.
	drop
	// dropOutside drops what doesn't come from the cluster.
	dropOutside
)

// maxEndpoints is how many endpoints of a list are used; further ones get no connections.
const maxEndpoints = localSlots

// localSlots is the number of the first slot of the local list; the cluster's begin at 0.
const localSlots = 1 << 16
