package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"sync"
	"time"

	"github.com/bedplate/bedplate"
	"github.com/bedplate/bedplate/netplug"
	"github.com/bedplate/bedplate/netplug/hosts"
	"github.com/bedplate/bedplate/netplug/overlay"
	"github.com/bedplate/bedplate/runtime/node"
)

// nodes are those of the cluster: the first is the machine itself, the others are network namespaces.
type nodes struct {
	o        options
	plane    *bedplate.ControlPlane
	machines *hosts.Hosts
	dns      netip.Addr
	log      *slog.Logger
	cancel   context.CancelFunc

	running []*node.Node
	wg      sync.WaitGroup
	mu      sync.Mutex
	errs    []error
}

// start starts the nodes and waits until they are ready, or ctx ends.
func (n *nodes) start(ctx context.Context) error {
	if n.o.nodes == 0 {
		return nil
	}
	warnOfFirewalls(n.o)
	for i := 1; i <= n.o.nodes; i++ {
		begin := time.Now()
		host := n.machines.Machine()
		if i > 1 {
			var err error
			if host, err = n.machines.Add(i); err != nil {
				return err
			}
		}
		one, err := n.newNode(fmt.Sprintf("node-%d", i), host)
		if err != nil {
			return err
		}
		n.running = append(n.running, one)
		n.wg.Go(func() {
			if err := one.Run(ctx); err != nil {
				n.fail(err)
			}
		})
		select {
		case <-one.Ready():
			stage(fmt.Sprintf("node-%d at %s", i, host.Address), time.Since(begin))
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

func (n *nodes) newNode(name string, host hosts.Host) (*node.Node, error) {
	access, err := n.plane.Node(name, host.Address)
	if err != nil {
		return nil, err
	}
	between := overlay.Routes
	if n.o.vxlan {
		between = overlay.VXLAN
	}
	return node.New(node.Config{
		Name: name, Dir: filepath.Join(n.o.dir, name), Client: access.Client, TLS: access.TLS, Callers: access.Callers,
		Addresses: []netip.Addr{host.Address}, HostNetwork: host.Namespace, StopPods: true, Log: n.log,
		Pods: &node.PodNetwork{
			Client: access.Network, Tables: access.Tables, Pods: []netip.Prefix{n.o.pods}, Services: []netip.Prefix{n.o.services},
			Between: between, DNS: n.dns,
		},
	})
}

// fail ends the cluster.
func (n *nodes) fail(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.errs = append(n.errs, err)
	n.cancel()
}

// wait returns when all nodes have ended, with what went wrong.
func (n *nodes) wait() error {
	n.wg.Wait()
	return errors.Join(n.errs...)
}

// warnOfFirewalls says in a line each what other firewalls of the machine would do to the pods' traffic.
func warnOfFirewalls(o options) {
	findings, err := netplug.Check(netplug.Config{Ranges: []netip.Prefix{o.pods, o.machines}})
	if err != nil {
		fmt.Println("            the machine's firewalls could not be looked at:", err)
	}
	for _, f := range findings {
		fmt.Println("            " + f.String())
	}
}
