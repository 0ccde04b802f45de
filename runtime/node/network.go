//go:build linux

package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/netplug"
	"github.com/bedplate/bedplate/netplug/dns"
	"github.com/bedplate/bedplate/netplug/overlay"
	"github.com/bedplate/bedplate/netplug/proxy"
	"github.com/bedplate/bedplate/reconcile"
	"github.com/bedplate/bedplate/reconcile/informer"
	"github.com/bedplate/bedplate/runtime/internal/crash"
)

// PodNetwork says how the pods of a node are connected: among each other, with those of other nodes, with services and
// with the world. Client, Pods and Services are needed.
type PodNetwork struct {
	// Client reads nodes, services and endpoint slices, and for DNS pods and namespaces, and writes the node's slice of
	// the DNS service, as system:kube-proxy.
	Client *client.Client
	// Tables are those of the server that Client speaks to, if that is in this process. nil: Client lists and watches.
	Tables informer.Tables
	// Pods and Services are the cluster's ranges. The node's own part of Pods is what its Node object says.
	Pods, Services []netip.Prefix
	// Mode connects the pods of the node, and Between those of different nodes.
	Mode    netplug.Mode
	Between overlay.Mode
	// DNS is the cluster's DNS service, kube-system/kube-dns, which pods ask for names; the node answers for it to
	// its own pods. The service must be there. Zero: pods have the machine's resolvers.
	DNS netip.Addr
	// Domain of the cluster, "cluster.local" by default.
	Domain string
}

// validate checks what is known before anything is opened. addresses are the node's.
func (c *PodNetwork) validate(addresses []netip.Addr) error {
	switch {
	case c.Client == nil:
		return errors.New("PodNetwork.Client must be set")
	case len(c.Pods) == 0 || len(c.Services) == 0:
		return errors.New("PodNetwork.Pods and Services must be set: the cluster's ranges")
	case c.DNS.IsValid() && !slices.ContainsFunc(c.Services, func(p netip.Prefix) bool { return p.Contains(c.DNS) }):
		return fmt.Errorf("PodNetwork.DNS %s is in none of the services' ranges %s", c.DNS, c.Services)
	}
	all := slices.Concat(c.Pods, c.Services)
	for i, p := range all {
		for _, other := range all[:i] {
			if p.Overlaps(other) {
				return fmt.Errorf("PodNetwork: the ranges %s and %s overlap: choose others for pods or services", other, p)
			}
		}
		for _, a := range addresses {
			if p.Contains(a) {
				return fmt.Errorf("PodNetwork: the node's address %s is in the range %s: choose another for pods and services", a, p)
			}
		}
	}
	return nil
}

// network is a node's, as it runs.
type network struct {
	c       PodNetwork
	node    string
	plug    *netplug.Network
	between *overlay.Overlay
	proxy   *proxy.Proxy
	manager *reconcile.Manager
	sockets []io.Closer // of DNS, until its Run has them
	dns     *dns.Server
	dnsAt   netip.AddrPort
	cancel  context.CancelFunc
	ended   chan error
}

// openNetwork makes the node's part of the network. The node's pods may be attached from then on; they wait for the
// node's range.
func (n *Node) openNetwork(c PodNetwork) (*network, error) {
	w := &network{c: c, node: n.c.Name}
	if err := w.open(&n.c); err != nil {
		// Nobody's network is taken away.
		return nil, errors.Join(fmt.Errorf("open the pods' network: %w", err), w.close(context.Background(), !n.hasPods()))
	}
	return w, nil
}

func (w *network) open(n *Config) (err error) {
	c := &w.c
	if w.manager, err = reconcile.New(reconcile.Config{Client: c.Client, Tables: c.Tables, Name: "kube-proxy", Log: n.Log}); err != nil {
		return err
	}
	overhead := 0
	if c.Between == overlay.VXLAN {
		overhead = overlay.VXLANOverhead
	}
	w.plug, err = netplug.New(netplug.Config{
		Host: n.HostNetwork, Mode: c.Mode, NonMasquerade: c.Pods, Overhead: overhead, Log: n.Log,
	})
	if err != nil {
		return err
	}
	crash.At("network.plug")
	if err := w.openBetween(n); err != nil {
		return err
	}
	crash.At("network.between")
	if err := w.openProxy(n); err != nil {
		return err
	}
	crash.At("network.proxy")
	if !c.DNS.IsValid() {
		return nil
	}
	return w.openDNS(n)
}

func (w *network) openBetween(c *Config) error {
	nodes, err := reconcile.Informer[*corev1.Node](w.manager)
	if err != nil {
		return err
	}
	w.between, err = overlay.New(overlay.Config{
		Node: c.Name, Nodes: nodes, Host: c.HostNetwork, Mode: w.c.Between, Ranges: w.plug.SetRanges, Log: c.Log,
	})
	if err != nil {
		return err
	}
	w.manager.Go("overlay", false, w.between.Run)
	return nil
}

func (w *network) openProxy(c *Config) error {
	services, slices, err := w.services()
	if err != nil {
		return err
	}
	w.proxy, err = proxy.New(proxy.Config{
		Services: services, Slices: slices, Node: proxy.Node{Name: c.Name, Addresses: ipv4(c.Addresses)},
		PodRanges: w.c.Pods, ServiceRanges: w.c.Services, Namespace: c.HostNetwork, Log: c.Log,
	})
	if err != nil {
		return err
	}
	w.manager.Go("service proxy", false, w.proxy.Run)
	return nil
}

func (w *network) services() (*informer.Informer[*corev1.Service], *informer.Informer[*discoveryv1.EndpointSlice], error) {
	services, err := reconcile.Informer[*corev1.Service](w.manager)
	if err != nil {
		return nil, nil, err
	}
	slices, err := reconcile.Informer[*discoveryv1.EndpointSlice](w.manager)
	return services, slices, err
}

// servicesIn lists the services of a namespace, once all are known.
func (w *network) servicesIn(ctx context.Context, namespace string) ([]*corev1.Service, error) {
	services, _, err := w.services()
	if err != nil {
		return nil, err
	}
	select {
	case <-services.Synced():
		return slices.Collect(services.List(namespace)), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func ipv4(addresses []netip.Addr) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(addresses), func(a netip.Addr) bool { return !a.Is4() || a.IsLoopback() })
}

// openDNS serves the cluster's names at the node's address, on a port of its own, and adds that to the service. What the
// machine's own resolvers know it asks from where this process is.
func (w *network) openDNS(c *Config) error {
	at := ipv4(c.Addresses)
	if len(at) == 0 {
		return errors.New("serve DNS: the node has no IPv4 address that pods could reach")
	}
	var packets net.PacketConn
	var streams net.Listener
	err := netplug.Inside(c.HostNetwork, func() (err error) {
		if packets, err = net.ListenPacket("udp", netip.AddrPortFrom(at[0], 0).String()); err != nil {
			return err
		}
		streams, err = net.Listen("tcp", packets.LocalAddr().String())
		return err
	})
	if err != nil {
		if packets != nil {
			err = errors.Join(err, packets.Close())
		}
		return fmt.Errorf("serve DNS: %w", err)
	}
	d, err := w.newDNS(c, packets, streams)
	if err != nil {
		return errors.Join(fmt.Errorf("serve DNS: %w", err), packets.Close(), streams.Close())
	}
	w.manager.Go("DNS", false, d.Run)
	w.sockets = []io.Closer{packets, streams}
	w.dns, w.dnsAt = d, packets.LocalAddr().(*net.UDPAddr).AddrPort()
	crash.At("network.dns")
	return nil
}

func (w *network) newDNS(c *Config, packets net.PacketConn, streams net.Listener) (*dns.Server, error) {
	services, endpoints, err := w.services()
	if err != nil {
		return nil, err
	}
	pods, err := reconcile.Informer[*corev1.Pod](w.manager)
	if err != nil {
		return nil, err
	}
	spaces, err := reconcile.InformerOf(w.manager, client.Metadata(w.c.Client, corev1.SchemeGroupVersion.WithResource("namespaces"), false))
	if err != nil {
		return nil, err
	}
	return dns.New(dns.Config{
		IndexConfig: dns.IndexConfig{Domain: w.c.Domain, Ranges: slices.Concat(w.c.Services, w.c.Pods), Addresses: []netip.Addr{w.c.DNS}},
		Packets:     []net.PacketConn{packets}, Listeners: []net.Listener{streams},
		Services: services, Slices: endpoints, Pods: pods, Namespaces: spaces, Log: c.Log,
	})
}

// dnsService is where pods look for names.
const dnsService = "kube-dns"

// publishDNS makes the node an endpoint of the DNS service, once it is registered. It goes on trying until ctx ends:
// without it the node's pods find no names.
func (w *network) publishDNS(ctx context.Context, log *slog.Logger) {
	if w.dns == nil {
		return
	}
	select {
	case <-w.dns.Ready():
	case <-ctx.Done():
		return
	}
	const most = 10 * time.Second
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, most) {
		err := w.applyDNS(ctx)
		crash.At("network.published")
		if err == nil || ctx.Err() != nil {
			return
		}
		log.Error("the node's pods find no names yet", "service", dnsService, "err", err)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

// applyDNS writes the node's slice, which goes with its Node.
func (w *network) applyDNS(ctx context.Context) error {
	c := w.c.Client
	self, err := client.For[*corev1.Node](c).Get(ctx, "", w.node)
	if err != nil {
		return err
	}
	port := ptr.To(int32(w.dnsAt.Port()))
	_, err = client.For[*discoveryv1.EndpointSlice](c).Apply(ctx, &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: metav1.NamespaceSystem, Name: dnsService + "-" + w.node,
			Labels:          map[string]string{discoveryv1.LabelServiceName: dnsService, discoveryv1.LabelManagedBy: "node.bedplate.io"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: w.node, UID: self.UID}},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints: []discoveryv1.Endpoint{{
			Addresses: []string{w.dnsAt.Addr().String()}, NodeName: &w.node, Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(true)},
		}},
		Ports: []discoveryv1.EndpointPort{
			{Name: ptr.To("dns"), Protocol: ptr.To(corev1.ProtocolUDP), Port: port},
			{Name: ptr.To("dns-tcp"), Protocol: ptr.To(corev1.ProtocolTCP), Port: port},
		},
	}, "bedplate-node", client.Force())
	return err
}

// run runs what was opened until close. fail is told of what ends by itself.
func (w *network) run(fail func(error)) {
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel, w.ended = cancel, make(chan error, 1)
	go func() {
		err := w.manager.Run(ctx)
		if ctx.Err() == nil {
			fail(err)
		}
		w.ended <- err
	}()
}

// close ends what run began, and takes the network away, or leaves it for the node that comes after this one.
func (w *network) close(ctx context.Context, remove bool) (err error) {
	if w.cancel != nil {
		w.cancel()
		err = <-w.ended
	} else {
		for _, s := range w.sockets {
			err = errors.Join(err, s.Close())
		}
	}
	crash.At("network.ended")
	if remove && w.proxy != nil {
		err = errors.Join(err, w.proxy.Remove(ctx))
		crash.At("network.proxy-removed")
	}
	if w.between != nil {
		if remove {
			err = errors.Join(err, w.between.Remove())
		} else {
			err = errors.Join(err, w.between.Close())
		}
		crash.At("network.between-closed")
	}
	if w.plug != nil {
		if remove {
			err = errors.Join(err, w.plug.Remove(ctx))
			crash.At("network.plug-removed")
		}
		err = errors.Join(err, w.plug.Close())
	}
	crash.At("network.closed")
	return err
}
