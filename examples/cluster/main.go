// Cluster runs a whole cluster in one process: store, API server, controllers, scheduler, and nodes whose pods reach
// each other, services, names and the world, until Ctrl-C.
//
//	cluster -data-dir /var/lib/bedplate -kubeconfig admin.kubeconfig
//	cluster -nodes 3      # two more nodes, each a network namespace
//	cluster -nodes 0      # the control plane alone; needs no root
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/bedplate/bedplate"
	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/netplug"
	"github.com/bedplate/bedplate/netplug/hosts"
	"github.com/bedplate/bedplate/netplug/overlay"
	"github.com/bedplate/bedplate/netplug/proxy"
	"github.com/bedplate/bedplate/runtime"
)

type options struct {
	dir, listen, kubeconfig  string
	nodes                    int
	vxlan, demo, verbose     bool
	pods, services, machines netip.Prefix
}

func main() {
	runtime.Init() // this binary is also what starts its containers
	paceCollector()
	o := options{
		pods: netip.MustParsePrefix("10.244.0.0/16"), services: netip.MustParsePrefix("10.96.0.0/16"), machines: netip.MustParsePrefix("10.245.0.0/24"),
	}
	flag.StringVar(&o.dir, "data-dir", "data", "folder of everything that outlives a restart")
	flag.StringVar(&o.listen, "listen", "127.0.0.1:6443", "address of the API")
	flag.StringVar(&o.kubeconfig, "kubeconfig", "", "file for the administrator's kubeconfig (default: admin.kubeconfig in -data-dir)")
	flag.IntVar(&o.nodes, "nodes", 1, "number of nodes; 0 is the control plane alone and needs no root")
	flag.TextVar(&o.pods, "pods", o.pods, "range of the pods' addresses")
	flag.TextVar(&o.services, "services", o.services, "range of the services' addresses")
	flag.TextVar(&o.machines, "machines", o.machines, "range of the nodes' addresses")
	flag.BoolVar(&o.vxlan, "vxlan", false, "connect the pods of different nodes by VXLAN instead of routes")
	flag.BoolVar(&o.demo, "demo", true, "make the image demo.local/busybox:v1, and run web servers as a kind of their own to look at")
	flag.BoolVar(&o.verbose, "v", false, "log everything")
	flag.Parse()
	if flag.NArg() > 0 || o.nodes < 0 {
		fmt.Fprintf(os.Stderr, "cluster: -nodes %d %s: there are flags alone, and -nodes is 0 or more; see -h\n", o.nodes, strings.Join(flag.Args(), " "))
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (err error) {
	if o.nodes > 0 && os.Geteuid() != 0 {
		return errors.New("running containers needs root: run it as root, or the control plane alone with -nodes 0")
	}
	level := slog.LevelWarn
	if o.verbose {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	if o.dir, err = filepath.Abs(o.dir); err != nil {
		return err
	}
	begin := time.Now()
	config := bedplate.Config{
		Dir: o.dir, Listen: o.listen, Services: []netip.Prefix{o.services}, Pods: []netip.Prefix{o.pods},
		Resources: []apimachinery.Resource{Websites()}, Log: log, Stage: stage,
	}
	var machines *hosts.Hosts
	if o.nodes > 0 {
		if err := netplug.InUse(netplug.Config{}, []netip.Prefix{o.pods, o.services}, overlay.RouteProtocol, proxy.RouteProtocol); err != nil {
			return err
		}
		if machines, err = hosts.Open(hosts.Config{Name: "bedplate", Range: o.machines, Inside: []netip.Prefix{o.pods}}); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, leave(machines, err)) }()
		config.Advertise, config.DNS = machines.Machine().Address, dnsOf(o.services)
	}
	plane, err := bedplate.Start(ctx, config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, plane.Stop()) }()
	if o.kubeconfig == "" {
		o.kubeconfig = filepath.Join(o.dir, "admin.kubeconfig")
	}
	if err := plane.WriteKubeconfig(o.kubeconfig, "admin", "system:masters"); err != nil {
		return err
	}
	ctx, cancel := plane.Context(ctx)
	defer cancel()
	all := &nodes{o: o, plane: plane, machines: machines, dns: config.DNS, log: log, cancel: cancel}
	defer func() { cancel(); err = errors.Join(err, all.wait()) }()
	if err := all.start(ctx); err != nil || ctx.Err() != nil {
		return err
	}
	fmt.Printf("%7.1f ms  in all. The API is at %s. Try:\n\n  export KUBECONFIG=%s\n  kubectl get nodes,pods,services -A -o wide\n",
		time.Since(begin).Seconds()*1000, plane.URL(), o.kubeconfig)
	if o.demo && o.nodes > 0 {
		if err := all.demo(ctx, begin); err != nil && ctx.Err() == nil {
			fmt.Println("\nThe demo is not there (leave it out with -demo=false):", err)
		}
	}
	fmt.Print("\nCtrl-C ends it.\n")
	<-ctx.Done()
	fmt.Println("stopping: pods that don't heed TERM get their grace period; a second Ctrl-C leaves them to the next start")
	return nil
}

// leave takes the machines away, but not from under pods that a start that failed did not get to stop.
func leave(machines *hosts.Hosts, err error) error {
	if err != nil && machines.Found() {
		machines.Close()
		return nil
	}
	return machines.Remove()
}

func stage(name string, took time.Duration) { fmt.Printf("%7.1f ms  %s\n", took.Seconds()*1000, name) }

// dnsOf is where the service of names is, by custom: the tenth address of the services.
func dnsOf(services netip.Prefix) netip.Addr {
	a := services.Masked().Addr()
	for range 10 {
		a = a.Next()
	}
	return a
}
