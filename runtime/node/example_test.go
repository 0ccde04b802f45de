//go:build linux

package node_test

import (
	"context"
	"fmt"
	"net/netip"
	"os/signal"
	"syscall"

	"github.com/bedplate/bedplate"
	"github.com/bedplate/bedplate/netplug/hosts"
	"github.com/bedplate/bedplate/runtime"
	"github.com/bedplate/bedplate/runtime/node"
)

// A cluster of one node, whose pods reach each other and services by name, until Ctrl-C. It needs root.
func Example() {
	runtime.Init() // on the first line of main: this program is also what starts its containers
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := cluster(ctx); err != nil {
		fmt.Println(err)
	}
}

func cluster(ctx context.Context) error {
	pods, services := []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")}, []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16")}
	machines, err := hosts.Open(hosts.Config{Name: "example", Range: netip.MustParsePrefix("10.245.0.0/24"), Inside: pods})
	if err != nil {
		return err
	}
	defer machines.Remove()
	here, dns := machines.Machine(), netip.MustParseAddr("10.96.0.10")
	plane, err := bedplate.Start(ctx, bedplate.Config{Dir: "data", Advertise: here.Address, Pods: pods, Services: services, DNS: dns})
	if err != nil {
		return err
	}
	defer plane.Stop()
	access, err := plane.Node("node-1", here.Address)
	if err != nil {
		return err
	}
	n, err := node.New(node.Config{
		Name: "node-1", Dir: "/var/lib/example/node-1", Addresses: []netip.Addr{here.Address},
		Client: access.Client, TLS: access.TLS, Callers: access.Callers, StopPods: true,
		Pods: &node.PodNetwork{Client: access.Network, Tables: access.Tables, Pods: pods, Services: services, DNS: dns},
	})
	if err != nil {
		return err
	}
	return n.Run(ctx)
}
