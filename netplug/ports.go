package netplug

import (
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
)

// hostPort is where a host port listens. The zero addr is every address of the host.
type hostPort struct {
	addr  netip.Addr
	proto byte
	port  uint16
}

func (h hostPort) String() string {
	host := "*"
	if h.addr.IsValid() {
		host = h.addr.String()
	}
	return fmt.Sprintf("%s:%d/%s", host, h.port, map[byte]string{6: "TCP", 17: "UDP", 132: "SCTP"}[h.proto])
}

// meets says whether a packet could be for both.
func (h hostPort) meets(o hostPort) bool {
	return h.proto == o.proto && h.port == o.port && (h.addr == o.addr || !h.addr.IsValid() || !o.addr.IsValid())
}

// portsOf are the host ports that a pod asks for, each with the container's port.
func portsOf(pod *corev1.Pod) (map[hostPort]uint16, error) {
	ports := map[hostPort]uint16{}
	if pod == nil {
		return ports, nil
	}
	containers := pod.Spec.Containers
	for _, c := range pod.Spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			containers = append(containers[:len(containers):len(containers)], c)
		}
	}
	for _, c := range containers {
		for _, p := range c.Ports {
			if p.HostPort == 0 {
				continue
			}
			h, err := hostPortOf(p)
			if err != nil {
				return nil, fmt.Errorf("container %q, host port %d: %w", c.Name, p.HostPort, err)
			}
			if to, ok := ports[h]; ok && to != uint16(p.ContainerPort) {
				return nil, fmt.Errorf("container %q: host port %s leads to two ports of the pod", c.Name, h)
			}
			ports[h] = uint16(p.ContainerPort)
		}
	}
	return ports, nil
}

func hostPortOf(p corev1.ContainerPort) (hostPort, error) {
	h := hostPort{port: uint16(p.HostPort)}
	switch p.Protocol {
	case corev1.ProtocolTCP, "":
		h.proto = 6
	case corev1.ProtocolUDP:
		h.proto = 17
	case corev1.ProtocolSCTP:
		h.proto = 132
	default:
		return h, fmt.Errorf("protocol %q is not TCP, UDP or SCTP", p.Protocol)
	}
	if p.HostPort < 1 || p.HostPort > 65535 || p.ContainerPort < 1 || p.ContainerPort > 65535 {
		return h, fmt.Errorf("to port %d: ports are 1 to 65535", p.ContainerPort)
	}
	if p.HostIP == "" {
		return h, nil
	}
	a, err := netip.ParseAddr(p.HostIP)
	switch {
	case err != nil:
		return h, fmt.Errorf("hostIP: %w", err)
	case !a.Is4():
		return h, fmt.Errorf("hostIP %s: only IPv4 is served", a)
	case a.IsLoopback():
		return h, fmt.Errorf("hostIP %s: a host port can't be served on a loopback address, as that needs route_localnet, which opens the host's own ports to its neighbours; name an address of the node", a)
	case !a.IsUnspecified():
		h.addr = a
	}
	return h, nil
}

// target is where a host port leads.
type target struct {
	addr netip.Addr
	port uint16
}

// portTable says whose a host port is.
type portTable map[hostPort]target

// conflict is the error if one of the ports is another's.
func (t portTable) conflict(ports map[hostPort]uint16, addr netip.Addr, nameOf func(netip.Addr) string) error {
	for want := range ports {
		for have, to := range t {
			if want.meets(have) && to.addr != addr {
				return fmt.Errorf("host port %s is in use by sandbox %s (%s)", want, nameOf(to.addr), have)
			}
		}
	}
	return nil
}

// of are the host ports that lead to an address.
func (t portTable) of(addr netip.Addr) portTable {
	out := portTable{}
	for h, to := range t {
		if to.addr == addr {
			out[h] = to
		}
	}
	return out
}
