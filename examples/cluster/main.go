// Cluster runs a whole cluster in one process: store, API server, controllers, scheduler and nodes, until Ctrl-C.
//
//	cluster -data-dir /var/lib/bedplate -kubeconfig admin.kubeconfig
//	cluster -nodes 0      # the control plane alone; needs no root
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/bedplate/bedplate"
	"github.com/bedplate/bedplate/runtime"
	"github.com/bedplate/bedplate/runtime/node"
)

type options struct {
	dir, listen, kubeconfig string
	nodes                   int
	demo, verbose           bool
}

func main() {
	runtime.Init() // this binary is also what starts its containers
	var o options
	flag.StringVar(&o.dir, "data-dir", "data", "folder of everything that outlives a restart")
	flag.StringVar(&o.listen, "listen", "127.0.0.1:6443", "address of the API")
	flag.StringVar(&o.kubeconfig, "kubeconfig", "", "file for the administrator's kubeconfig (default: admin.kubeconfig in -data-dir)")
	flag.IntVar(&o.nodes, "nodes", 1, "number of nodes; 0 is the control plane alone and needs no root")
	flag.BoolVar(&o.demo, "demo", true, "run a Deployment to look at")
	flag.BoolVar(&o.verbose, "v", false, "log everything")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
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
	stage := func(name string, took time.Duration) { fmt.Printf("%7.1f ms  %s\n", took.Seconds()*1000, name) }
	plane, err := bedplate.Start(ctx, bedplate.Config{Dir: o.dir, Listen: o.listen, Log: log, Stage: stage})
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
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	nodes, wait, err := startNodes(ctx, cancel, plane, o, log, stage)
	defer func() { cancel(nil); err = errors.Join(err, wait()) }()
	if err != nil || ctx.Err() != nil {
		return err
	}
	if o.demo && len(nodes) > 0 {
		if err := demo(ctx, plane.Client(), nodes); err != nil {
			return fmt.Errorf("start the demo (leave it out with -demo=false): %w", err)
		}
	}
	fmt.Printf("%7.1f ms  in all. The API is at %s. Try:\n\n  export KUBECONFIG=%s\n  kubectl get nodes,pods -A -o wide\n\nCtrl-C ends it.\n",
		time.Since(begin).Seconds()*1000, plane.URL(), o.kubeconfig)
	select {
	case <-plane.Done():
	case <-ctx.Done():
	}
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	fmt.Println("stopping")
	return nil
}

// startNodes starts the nodes and waits until they are ready; wait returns when all have ended.
func startNodes(ctx context.Context, fail context.CancelCauseFunc, plane *bedplate.ControlPlane, o options, log *slog.Logger, stage func(string, time.Duration)) (nodes []*node.Node, wait func() error, err error) {
	var wg sync.WaitGroup
	errs := make([]error, o.nodes)
	wait = func() error { wg.Wait(); return errors.Join(errs...) }
	for i := range o.nodes {
		begin, name := time.Now(), fmt.Sprintf("node-%d", i+1)
		addresses := node.Addresses()
		access, err := plane.Node(name, addresses...)
		if err != nil {
			return nodes, wait, err
		}
		n, err := node.New(node.Config{
			Name: name, Dir: filepath.Join(o.dir, name), Client: access.Client, TLS: access.TLS, Callers: access.Callers,
			Addresses: addresses, StopPods: true, Log: log,
		})
		if err != nil {
			return nodes, wait, err
		}
		wg.Go(func() {
			if errs[i] = n.Run(ctx); errs[i] != nil {
				fail(context.Canceled) // wait tells why
			}
		})
		select {
		case <-n.Ready():
		case <-ctx.Done():
			return nodes, wait, nil
		}
		nodes = append(nodes, n)
		stage(name, time.Since(begin))
	}
	return nodes, wait, nil
}
