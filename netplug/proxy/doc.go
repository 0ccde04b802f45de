// Package proxy is a service proxy for Kubernetes: what a client sends to a service's address, a node port, an
// external IP or a load balancer's address goes on to one of the service's endpoints, in the kernel, by nftables.
//
// [Compile] is the pure part: it says how a node has to treat a service with its EndpointSlices, as kube-proxy
// v1.37 would decide it. A [Proxy] follows the services and slices of any Kubernetes, compiles what changes, and
// writes the difference to the kernel over netlink, without any binary:
//
//	p, err := proxy.New(proxy.Config{Client: c, Node: proxy.Node{Name: "a", Addresses: nodeIPs}, PodRanges: pods})
//	…
//	err = p.Run(ctx)
//
// # In the kernel
//
// There is one table, of family ip. Its maps lead from a frontend (address, protocol, port) to a chain, and from a
// frontend and a random number to an endpoint. A chain stands for all frontends that are alike: so many endpoints,
// this traffic policy, that affinity. So a change of a service is a change of a few elements, whatever the number of
// services, and every change is one transaction: no packet sees half of it, nor a moment without rules. `nft list
// table ip bedplate-services` shows it all with comments; of chains with session affinity nft says that it can't
// follow some rules, which are right all the same.
//
// A connection keeps the endpoint that it got, also when the endpoint is taken out; UDP flows are ended then, so that
// the client's next datagram goes to another. Sources are rewritten to this node's address only where answers would
// not find back: from a pod to itself, from outside the cluster to a cluster IP, and from anywhere through other
// frontends unless their traffic policy is Local.
//
// # When things go wrong
//
// When Run ends the rules stay, and the next Run takes them over: what is right is not touched. Once a minute
// (Config.Resync) the table is compared with what it should be and repaired, or replaced in one transaction if
// somebody changed its rules; so it is when a transaction fails. Two proxies in one network namespace need tables of
// different names.
//
// # What differs from kube-proxy
//
//   - IPv4 only. Frontends and endpoints of IPv6 are left out.
//   - externalIPs are honoured only in the ranges of Node.ExternalIPs, and endpoints at loopback, link-local and
//     multicast addresses never.
//   - A service with loadBalancerSourceRanges gets no load balancer frontends, as the ranges can't be enforced here.
//   - Affinity is kept for each frontend by itself, and for 262,144 clients in all; others are spread at random.
//   - There is no server for healthCheckNodePort, and node ports never answer on loopback addresses.
//   - Of a list of endpoints, the first 65,536 are used.
package proxy
