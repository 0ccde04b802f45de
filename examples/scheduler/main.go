// Scheduler is a scheduler of one's own: kube-scheduler's rules, and one more, by which teams share no node (see
// teams.go). It schedules the pods whose spec.schedulerName is "teams". It brings a control plane of its own, with
// two nodes that are names alone, and says what to try with kubectl:
//
//	go run ./examples/scheduler
//
// It works as well on any other cluster, beside the scheduler that is there:
//
//	go run ./examples/scheduler -kubeconfig ~/.kube/config
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/apimachinery/client/kubeconfig"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
	"github.com/bedplate/bedplate/scheduling/pods"
)

const usage = `Ready. Try in another terminal:

  export KUBECONFIG=$PWD/%s
  kubectl apply -f examples/scheduler/team.yaml
  sed s/red/blue/ examples/scheduler/team.yaml | kubectl apply -f -
  sed s/red/green/ examples/scheduler/team.yaml | kubectl apply -f -
  kubectl get pods -o wide -L team
  kubectl describe pods -l team=green      # two nodes are too few for three teams
  kubectl delete deployment red            # now green has one

Ctrl-C ends it.
`

func main() {
	file := flag.String("kubeconfig", "", "schedule on the cluster of this file (default: on one of its own)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	run := alone
	if *file != "" {
		run = func(ctx context.Context, out io.Writer) error { return joined(ctx, out, *file) }
	}
	if err := run(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "scheduler:", err)
		os.Exit(1)
	}
}

// alone schedules on a control plane in this process, which keeps everything in memory.
func alone(ctx context.Context, out io.Writer) (err error) {
	plane, err := bedplate.Start(ctx, bedplate.Config{NodeGrace: 24 * time.Hour}) // nobody speaks for its nodes
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, plane.Stop()) }()
	for _, name := range []string{"node-1", "node-2"} {
		if _, err := client.For[*corev1.Node](plane.Client()).Create(ctx, node(name)); err != nil {
			return err
		}
	}
	const file = "scheduler.kubeconfig"
	if err := plane.WriteKubeconfig(file, "admin", "system:masters"); err != nil {
		return err
	}
	defer os.Remove(file)
	fmt.Fprintf(out, usage, file)
	ctx, cancel := plane.Context(ctx)
	defer cancel()
	return schedule(ctx, plane.Client())
}

// node is a node with room, and nobody behind it who would start the pods.
func node(name string) *corev1.Node {
	room := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("4"), corev1.ResourceMemory: resource.MustParse("8Gi"), corev1.ResourcePods: resource.MustParse("110"),
	}
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.NodeStatus{Capacity: room, Allocatable: room}}
}

// joined schedules on the cluster of a kubeconfig file.
func joined(ctx context.Context, out io.Writer, file string) error {
	c, conn, err := kubeconfig.Client(file, core.Resources()...)
	if err != nil {
		return err
	}
	defer conn.Close()
	fmt.Fprintln(out, "At work. Ctrl-C ends it.")
	return schedule(ctx, c)
}

// schedule schedules until ctx ends.
func schedule(ctx context.Context, c *client.Client) error {
	s, err := pods.New(pods.DriverConfig{Client: c, Name: "teams", Plugins: plugins(), Log: slog.Default()})
	if err != nil {
		return err
	}
	return s.Run(ctx)
}
