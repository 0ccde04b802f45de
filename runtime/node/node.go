//go:build linux

// Package node bolts agent, runtime, images, volumes and the pods' network into a node of a cluster: of one that
// bedplate.Start made, or of a real Kubernetes.
//
// A node needs root. When it ends, its containers go on (the zero value, for restarts and upgrades: the next node
// in the same folder adopts them, with their network and their connections), or are stopped and all that was made for
// them is removed (Config.StopPods). A node that can't start leaves nothing, unless there are pods of one before it.
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
	"github.com/bedplate/bedplate/runtime/internal/crash"
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
	// Labels, Taints, Capacity and Heartbeat are the node's: see agent.Config. A control plane whose
	// bedplate.Config.NodeGrace is short needs a shorter Heartbeat.
	Labels    map[string]string
	Taints    []corev1.Taint
	Capacity  corev1.ResourceList
	Heartbeat time.Duration
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
	if c.Client == nil || c.Name == "" {
		return nil, errors.New("configure node: Name and Client must be set")
	}
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("configure node %s: %w", c.Name, err)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Node{c: c, ready: make(chan struct{}), opened: make(chan struct{})}, nil
}

// validate fills in the node's addresses, too, as other fields are checked against them.
func (c *Config) validate() error {
	switch {
	case !filepath.IsAbs(c.Dir):
		return fmt.Errorf("folder %q is not absolute", c.Dir)
	case c.HostNetwork != "" && !filepath.IsAbs(c.HostNetwork):
		return fmt.Errorf("HostNetwork %q is no absolute path", c.HostNetwork)
	case c.HostNetwork != "" && len(c.Addresses) == 0:
		return errors.New("HostNetwork without Addresses: name those that the node has there")
	case c.Pods != nil && c.Network != nil:
		return errors.New("both Pods and Network are set")
	}
	if len(c.Addresses) == 0 {
		c.Addresses = Addresses()
	}
	if c.Pods != nil {
		return c.Pods.validate(c.Addresses)
	}
	return nil
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
	if ctx.Err() != nil {
		return nil
	}
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
			crash.At("node.ready")
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
	crash.At("node.runs")
	err = a.Run(ctx)
	crash.At("node.ended")
	stop()
	beside.Wait()
	return errors.Join(err, <-told, n.close(ctx, a))
}

func (n *Node) dir(name string) string { return filepath.Join(n.c.Dir, name) }

// openTime bounds the opening of what a node is made of.
const openTime = time.Minute

// open opens the runtime first, as it says what is missing on this machine. It is not given up in the middle: what is
// half open would be left behind.
func (n *Node) open(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), openTime)
	defer cancel()
	if err := os.MkdirAll(n.c.Dir, 0o711); err != nil {
		return err
	}
	crash.At("node.dir")
	var err error
	if n.runtime, err = runtime.Open(ctx, runtime.Config{Dir: n.dir("runtime"), Log: n.c.Log}); err != nil {
		return err
	}
	crash.At("node.runtime")
	if n.images, err = image.Open(image.Config{Dir: n.dir("images"), Log: n.c.Log, PlainHTTP: n.c.PlainHTTP}); err != nil {
		return errors.Join(err, n.close(ctx, nil))
	}
	crash.At("node.images")
	if n.c.Pods != nil {
		if n.network, err = n.openNetwork(*n.c.Pods); err != nil {
			return errors.Join(err, n.close(ctx, nil))
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
	crash.At("node.assembled")
	return a, recorder, err
}

func (n *Node) agentConfig(volumes agent.Volumes, recorder *events.Recorder) agent.Config {
	c := agent.Config{
		NodeName: n.c.Name, Client: n.c.Client, Runtime: n.runtime, Images: n.images, Dir: n.c.Dir,
		Network: n.c.Network, HostNetwork: n.c.HostNetwork, Volumes: volumes, Addresses: n.c.Addresses, Listen: n.c.Listen, TLS: n.c.TLS, Callers: n.c.Callers,
		Labels: n.c.Labels, Taints: n.c.Taints, Capacity: n.c.Capacity, Heartbeat: n.c.Heartbeat, Log: n.c.Log,
		Events: func(pod *corev1.Pod, kind, reason, message string) {
			recorder.Record(events.Reference(pod), kind, reason, "%s", message)
		},
	}
	if n.network != nil {
		c.Network, c.Services = n.network.plug, n.network.servicesIn
		if n.c.Pods.DNS.IsValid() {
			c.DNS, c.Domain = []netip.Addr{n.c.Pods.DNS}, cmp.Or(n.c.Pods.Domain, "cluster.local")
		}
	}
	return c
}

// stopTime bounds the stop of all pods.
const stopTime = 2 * time.Minute

// close lets go of everything, or removes it: if that is asked for, or if the node never got to run and there are no
// pods of a node before it.
func (n *Node) close(ctx context.Context, a *agent.Agent) error {
	stop := n.c.StopPods && a != nil
	if !stop && (n.wasReady() || n.hasPods()) {
		return errors.Join(n.closeNetwork(ctx, false), n.closeImages(), n.runtime.Detach())
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
	defer cancel()
	var err error
	if stop {
		if err = a.StopPods(ctx); err == nil {
			crash.At("node.pods-stopped")
			err = n.images.Keep(nil)
		}
	}
	crash.At("node.stopped")
	err = errors.Join(err, n.closeImages(), n.runtime.Shutdown(ctx), n.closeNetwork(ctx, true))
	if stop {
		err = errors.Join(err, removePods(n.dir("pods")))
	}
	crash.At("node.removed")
	return err
}

func (n *Node) hasPods() bool { return len(n.runtime.Sandboxes()) > 0 }

func (n *Node) wasReady() bool {
	select {
	case <-n.ready:
		return true
	default:
		return false
	}
}

func (n *Node) closeImages() error {
	if n.images == nil {
		return nil
	}
	defer crash.At("node.images-closed")
	return n.images.Close()
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
