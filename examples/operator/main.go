// Operator has a kind of its own, Database, and a controller that keeps a ConfigMap and a Deployment for each: see
// database.go. It brings a control plane of its own, without nodes, and says what to try with kubectl:
//
//	go run ./examples/operator
//
// It works as well on any Kubernetes, and on a Bedplate that has the kind, as examples/cluster hasn't:
//
//	kubectl apply -f examples/operator/crd.yaml
//	go run ./examples/operator -kubeconfig ~/.kube/config
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/bedplate/bedplate"
	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/apimachinery/client/kubeconfig"
	"github.com/bedplate/bedplate/apimachinery/kinds/apps"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
)

const usage = `Ready. Try in another terminal:

  export KUBECONFIG=$PWD/%s
  kubectl apply -f examples/operator/database.yaml
  kubectl get databases,configmaps,deployments,pods                        # Pending: there are no nodes
  kubectl patch database cache --type merge -p '{"spec":{"memoryMB":128}}'
  kubectl patch database cache --type merge -p '{"spec":{"memoryMB":1}}'   # is refused
  kubectl delete database cache

Ctrl-C ends it.
`

func main() {
	file := flag.String("kubeconfig", "", "work on the cluster of this file (default: on one of its own)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	run := alone
	if *file != "" {
		run = func(ctx context.Context, out io.Writer) error { return joined(ctx, out, *file) }
	}
	if err := run(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "operator:", err)
		os.Exit(1)
	}
}

// alone works on a control plane in this process, which keeps everything in memory.
func alone(ctx context.Context, out io.Writer) (err error) {
	plane, err := bedplate.Start(ctx, bedplate.Config{Resources: []apimachinery.Resource{Databases()}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, plane.Stop()) }()
	const file = "operator.kubeconfig"
	if err := plane.WriteKubeconfig(file, "admin", "system:masters"); err != nil {
		return err
	}
	defer os.Remove(file)
	fmt.Fprintf(out, usage, file)
	ctx, cancel := plane.Context(ctx)
	defer cancel()
	return operate(ctx, plane.Client())
}

// joined works on the cluster of a kubeconfig file.
func joined(ctx context.Context, out io.Writer, file string) error {
	c, conn, err := kubeconfig.Client(file, slices.Concat(core.Resources(), apps.Resources(), []apimachinery.Resource{Databases()})...)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := client.For[*Database](c).List(ctx, client.Limit(1)); apierrors.IsNotFound(err) {
		return errors.New("this cluster doesn't serve databases.example.com: apply examples/operator/crd.yaml, or run it without -kubeconfig")
	} else if err != nil {
		return err
	}
	fmt.Fprintln(out, "At work. Try kubectl apply -f examples/operator/database.yaml; Ctrl-C ends it.")
	return operate(ctx, c)
}
