package pods

import (
	"context"
	"slices"

	"github.com/bedplate/bedplate/scheduling"
	corev1 "k8s.io/api/core/v1"
)

// NodePorts refuses nodes on which a host port that the pod wants is taken.
type NodePorts struct {
	taken map[portKey]map[int]map[string]int // node, address: how many pods; what is empty is removed
}

// portKey is a port of a protocol.
type portKey struct {
	protocol corev1.Protocol
	port     int32
}

// hostPort is a port at an address of the node.
type hostPort struct {
	portKey
	address string
}

// anywhere is the address that stands for all.
const anywhere = "0.0.0.0"

var (
	_ scheduling.Columns[*corev1.Pod, corev1.Node] = (*NodePorts)(nil)
	_ scheduling.Filter[*corev1.Pod]               = (*NodePorts)(nil)
	_ scheduling.Explainer[*corev1.Pod]            = (*NodePorts)(nil)
	_ scheduling.Local[*corev1.Pod]                = (*NodePorts)(nil)
	_ scheduling.Skipper[*corev1.Pod]              = (*NodePorts)(nil)
	_ scheduling.Hinter[*corev1.Pod, corev1.Node]  = (*NodePorts)(nil)
)

// NewNodePorts returns the plugin with no port taken.
func NewNodePorts() *NodePorts {
	return &NodePorts{taken: map[portKey]map[int]map[string]int{}}
}

// Name returns the plugin's name.
func (*NodePorts) Name() string { return "NodePorts" }

// Host is nothing to ports.
func (*NodePorts) Host(int, *corev1.Node) {}

// Placed counts the ports that a pod takes.
func (p *NodePorts) Placed(n int, pod *corev1.Pod, by int) {
	for _, want := range hostPorts(pod) {
		nodes := p.taken[want.portKey]
		if nodes == nil {
			nodes = map[int]map[string]int{}
			p.taken[want.portKey] = nodes
		}
		if nodes[n] == nil {
			nodes[n] = map[string]int{}
		}
		if nodes[n][want.address] += by; nodes[n][want.address] == 0 {
			delete(nodes[n], want.address)
		}
		if len(nodes[n]) == 0 {
			delete(nodes, n)
		}
		if len(nodes) == 0 {
			delete(p.taken, want.portKey)
		}
	}
}

// Skip skips pods that want no host port.
func (*NodePorts) Skip(pod *corev1.Pod) bool { return len(hostPorts(pod)) == 0 }

// Filter takes out the nodes on which a port is taken.
func (p *NodePorts) Filter(_ context.Context, pod *corev1.Pod, h hosts) error {
	for _, want := range hostPorts(pod) {
		for n, addresses := range p.taken[want.portKey] {
			if conflict(want.address, addresses) {
				h.Remove(n)
			}
		}
	}
	return nil
}

// Explain says that a port is taken.
func (p *NodePorts) Explain(pod *corev1.Pod, n int) []string {
	for _, want := range hostPorts(pod) {
		if conflict(want.address, p.taken[want.portKey][n]) {
			return []string{"node(s) didn't have free ports for the requested pod ports"}
		}
	}
	return nil
}

// Class is the ports.
func (*NodePorts) Class(key []byte, pod *corev1.Pod) ([]byte, bool) {
	for _, want := range hostPorts(pod) {
		key = appendString(appendString(key, string(want.protocol)), want.address)
		key = append(key, byte(want.port>>8), byte(want.port))
	}
	return key, true
}

// Hint says yes when a node came, and when a pod that took a port that is wanted
// went.
func (*NodePorts) Hint(pod *corev1.Pod, e event) bool {
	switch e.Kind {
	case scheduling.HostAdded:
		return true
	case scheduling.ItemUnplaced:
		wanted := hostPorts(pod)
		return slices.ContainsFunc(hostPorts(e.Item), func(freed hostPort) bool {
			return slices.ContainsFunc(wanted, func(want hostPort) bool { return want.portKey == freed.portKey })
		})
	}
	return false
}

// conflict reports whether a port at an address is taken by one of others.
func conflict(address string, others map[string]int) bool {
	if address == anywhere {
		return len(others) > 0
	}
	return others[address] > 0 || others[anywhere] > 0
}

// hostPorts lists the host ports of a pod's containers and sidecars.
func hostPorts(pod *corev1.Pod) (ports []hostPort) {
	list := func(c *corev1.Container) {
		for i := range c.Ports {
			if port := &c.Ports[i]; port.HostPort > 0 {
				want := hostPort{portKey{port.Protocol, port.HostPort}, port.HostIP}
				if want.protocol == "" {
					want.protocol = corev1.ProtocolTCP
				}
				if want.address == "" {
					want.address = anywhere
				}
				ports = append(ports, want)
			}
		}
	}
	for i := range pod.Spec.Containers {
		list(&pod.Spec.Containers[i])
	}
	for i := range pod.Spec.InitContainers {
		if c := &pod.Spec.InitContainers[i]; isSidecar(c) {
			list(c)
		}
	}
	return ports
}
