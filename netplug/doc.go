// Package netplug is the network of the pods of one node, made with netlink and nftables alone: no daemon, no
// executable, no file.
//
// A [Network] gives each sandbox a veth pair and an address out of the node's ranges. In mode [Routed] the host has a
// /32 route per pod and there is no bridge; in mode [Bridge] all pods of the node share one. What pods send outside
// the cluster is masqueraded, host ports lead to their pods, and a packet with a source that isn't the pod's is
// dropped.
//
// The truth is in the kernel, so that there is nothing to repair after a crash. The host's end of a pair is named
// after the sandbox (a hash of its id, set in the call that makes the link), its alias says the id and the addresses,
// and host ports lie in nftables maps by address. An address is in use exactly while a living link claims it; it ends
// with the link, and the link with the sandbox's namespace. [New] reads all this; [Network.Keep] removes what belongs
// to nobody. Only one open Network may do so: it holds a name in the node's namespace (an abstract unix socket for its
// prefix, and one for its route protocol), which ends with its process.
//
// Everything in the kernel carries [Config].Prefix: links are "<prefix>-…", nftables tables "<prefix>-pods", and
// routes have a protocol number of their own. Foreign rules, routes and links are left alone; what other firewalls
// would do to pods is told by [Check]. route_localnet is never switched on, so a host port is not served on 127.0.0.1.
//
// Only IPv4 is given out today; IPv6 from pods is dropped.
package netplug
