// Package dns is the DNS of a cluster, in process: the names of services, endpoints and pods, and everything else
// from the resolvers of the host.
//
// [Index] is the pure part: it is told of namespaces, services, endpoint slices and pods, one at a time, and answers
// questions from what it knows, after the Kubernetes DNS-Based Service Discovery specification v1.1.0
// (github.com/kubernetes/dns, docs/specification.md) and, where that is silent, as CoreDNS' kubernetes plugin does.
// It has neither clock nor randomness. [Server] is the driver: informers keep its index current, sockets that are
// handed in bring the questions, and what the index doesn't own goes to the upstreams.
//
//	<service>.<namespace>.svc.<domain>                 A, AAAA: its addresses; if headless, those of ready endpoints
//	<hostname>.<service>.<namespace>.svc.<domain>      A, AAAA of an endpoint of a headless service; the name is its
//	                                                   address with dashes (10-0-0-1) where it has no hostname
//	_<port>._<protocol>.<service>.<namespace>.svc…     SRV of a named port; at the service's own name: of all ports
//	<service>.<namespace>.svc.<domain>                 CNAME of an ExternalName service, followed where it leads
//	<a-b-c-d>.<namespace>.pod.<domain>                 A, AAAA of a pod, see [PodMode]
//	<reversed address>.in-addr.arpa, ip6.arpa          PTR of services and of endpoints of headless ones
//	dns-version.<domain>                               TXT of the version of the specification
//
// A name that there isn't is NXDOMAIN, a type that a name hasn't is an empty answer, and both carry the SOA. A
// headless service without ready endpoints is NXDOMAIN, as the specification has it. Wildcards are not answered.
// Names are compared without regard to case, and come back in the case in which they were asked (0x20).
//
// Against another Kubernetes it works by list and watch, and needs what CoreDNS needs: list and watch of services,
// pods and namespaces, and of endpointslices in discovery.k8s.io.
package dns
