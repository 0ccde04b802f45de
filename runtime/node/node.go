//go:build linux

// Package node bolts agent, runtime, images and volumes into a node of a cluster: of one that bedplate.Start made,
// or of a real Kubernetes.
//
// A node needs root. When it ends, its containers go on (the zero value, for restarts and upgrades: the next node
// in the same folder adopts them), or are stopped and all that was made for them is removed (Config.StopPods).
package node

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/reconcile/events"
	"github.com/bedplate/bedplate/runtime"
	"github.com/bedplate/bedplate/runtime/agent"
	"github.com/bedplate/bedplate/runtime/image"
	"github.com/bedplate/bedplate/volume/local"
)

// Config says what node to run. Name, Dir and Client are needed.
type Config struct {
	// Name is the node's in the API.
	Name string
	// Dir is the folder of everything on the node, absolute; one process may use it at a time.
	Dir string
	// Client speaks to the API as system:node:<Name>.
	Client *client.Client
	// TLS is the certificate of the node's API (logs, exec), its ClientCAs who may sign Callers. Nil: no such API.
	TLS     *tls.Config
	Callers []string
	// Addresses are the node's own; Listen is where its API is served. Defaults: see agent.Config.
	Addresses []netip.Addr
	Listen    string
	// HostNetwork is the network namespace that is the node's host, by its path; empty: this process's own. Every
	// node of a machine needs one of its own: see netplug/hosts.
	HostNetwork string
	// Pods connects the pods that don't share the host's network, or a Network of your own does. Neither: they have
	// a loopback interface alone.
	Pods    *PodNetwork
	Network agent.Network
	// Labels, Taints and Capacity are the node's: see agent.Config.
	Labels   map[string]string
	Taints   []corev1.Taint
	Capacity corev1.ResourceList
	// PlainHTTP lists image registries that may be spoken to without TLS, beside those on loopback.
	PlainHTTP []string
	// StopPods stops and removes everything when Run ends, instead of leaving the pods running.
	StopPods bool
	// Log hears of what goes wrong; nil: off.
	Log *slog.Logger
}

// Node is one node. Its methods may be called concurrently.
type Node struct {
	c       Config
	ran     atomic.Bool
	ready   chan struct{}
	opened  chan struct{}
	images  *image.Store
	runtime *runtime.Runtime
	network *network // nil: none of ours
}

// New checks the configuration; it starts nothing.
func New(c Config) (*Node, error) {
	switch {
	case c.Client == nil || c.Name == "":
		return nil, errors.New("configure node: Name and Client must be set")
	case !filepath.IsAbs(c.Dir):
		return nil, fmt.Errorf("configure node %s: folder %q is not absolute", c.Name, c.Dir)
	}
	if c.Pods != nil {
		if err := c.Pods.validate(); err != nil {
			return nil, fmt.Errorf("configure node %s: %w", c.Name, err)
		}
		if c.Network != nil {
			return nil, fmt.Errorf("configure node %s: both Pods and Network are set", c.Name)
		}
	}
	if len(c.Addresses) == 0 {
		c.Addresses = Addresses()
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Node{c: c, ready: make(chan struct{}), opened: make(chan struct{})}, nil
}

// Ready is closed once the node is registered and runs pods.
func (n *Node) Ready() <-chan struct{} { return n.ready }

// Images is the node's image store, once it is open; it is closed when Run ends. It returns nil when ctx ends first.
func (n *Node) Images(ctx context.Context) *image.Store {
	select {
	case <-n.opened:
		return n.images
	case <-ctx.Done():
		return nil
	}
}

// Run runs the node until ctx ends. Errors: no root, a missing kernel feature, runtime.Init forgotten, a folder in
// use, an address in use, an API that refuses the node. A second Run is an error.
func (n *Node) Run(ctx context.Context) (err error) {
	if n.ran.Swap(true) {
		return fmt.Errorf("run node %s: it ran already", n.c.Name)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("run node %s: %w", n.c.Name, err)
		}
	}()
	if err := n.open(ctx); err != nil {
		return err
	}
	a, recorder, err := n.assemble()
	if err != nil {
		return errors.Join(err, n.close(ctx, nil))
	}
	told := make(chan error, 1)
	tell, stop := context.WithCancel(context.WithoutCancel(ctx))
	go func() { told <- recorder.Run(tell) }()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var beside sync.WaitGroup
	beside.Go(func() {
		select {
		case <-a.Ready():
			close(n.ready)
		case <-tell.Done():
			return
		}
		if n.network != nil {
			n.network.publishDNS(tell, n.c.Log)
		}
	})
	if n.network != nil {
		n.network.run(fail)
	}
	err = a.Run(ctx)
	stop()
	beside.Wait()
	return errors.Join(err, <-told, n.close(ctx, a))
}

func (n *Node) dir(name string) string { return filepath.Join(n.c.Dir, name) }

// open opens the runtime first, as it says what is missing on this machine.
func (n *Node) open(ctx context.Context) error {
	if err := os.MkdirAll(n.c.Dir, 0o711); err != nil {
		return err
	}
	var err error
	if n.runtime, err = runtime.Open(ctx, runtime.Config{Dir: n.dir("runtime"), Log: n.c.Log}); err != nil {
		return err
	}
	n.images, err = image.Open(image.Config{Dir: n.dir("images"), Log: n.c.Log, PlainHTTP: n.c.PlainHTTP})
	if err != nil {
		return errors.Join(err, n.runtime.Detach())
	}
	if n.c.Pods != nil {
		if n.network, err = n.openNetwork(*n.c.Pods); err != nil {
			return errors.Join(err, n.images.Close(), n.runtime.Detach())
		}
	}
	close(n.opened)
	return nil
}

func (n *Node) assemble() (*agent.Agent, *events.Recorder, error) {
	volumes, err := local.New(local.Config{Dir: n.dir("volumes"), Client: n.c.Client, Log: n.c.Log})
	if err != nil {
		return nil, nil, err
	}
	recorder, err := events.New(events.Config{Client: n.c.Client, Component: "kubelet", Log: n.c.Log})
	if err != nil {
		return nil, nil, err
	}
	a, err := agent.New(n.agentConfig(volumes, recorder))
	return a, recorder, err
}

func (n *Node) agentConfig(volumes agent.Volumes, recorder *events.Recorder) agent.Config {
	c := agent.Config{
		NodeName: n.c.Name, Client: n.c.Client, Runtime: n.runtime, Images: n.images, Dir: n.c.Dir,
		Network: n.c.Network, HostNetwork: n.c.HostNetwork, Volumes: volumes, Addresses: n.c.Addresses, Listen: n.c.Listen, TLS: n.c.TLS, Callers: n.c.Callers,
		Labels: n.c.Labels, Taints: n.c.Taints, Capacity: n.c.Capacity, Log: n.c.Log,
		Events: func(pod *corev1.Pod, kind, reason, message string) {
			recorder.Record(events.Reference(pod), kind, reason, "%s", message)
		},
	}
	if n.network != nil {
		c.Network = n.network.plug
		if n.c.Pods.DNS.IsValid() {
			c.DNS, c.Domain = []netip.Addr{n.c.Pods.DNS}, cmp.Or(n.c.Pods.Domain, "cluster.local")
		}
	}
	return c
}

// stopTime bounds the stop of all pods.
const stopTime = 2 * time.Minute

// close lets go of everything, or removes it.
func (n *Node) close(ctx context.Context, a *agent.Agent) error {
	if !n.c.StopPods || a == nil {
		return errors.Join(n.closeNetwork(ctx, false), n.images.Close(), n.runtime.Detach())
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
	defer cancel()
	err := a.StopPods(ctx)
	if err == nil {
		err = n.images.Keep(nil)
	}
	return errors.Join(err, n.images.Close(), n.runtime.Shutdown(ctx), n.closeNetwork(ctx, true), removePods(n.dir("pods")))
}

func (n *Node) closeNetwork(ctx context.Context, remove bool) error {
	if n.network == nil {
		return nil
	}
	return n.network.close(ctx, remove)
}

func removePods(dir string) error {
	if err := os.RemoveAll(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Addresses are those of the machine that a node on its network has by default.
func Addresses() []netip.Addr { return agent.MachineAddresses() }
