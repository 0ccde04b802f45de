//go:build linux

package node

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/apimachinery/client/kubeconfig"
	"github.com/bedplate/bedplate/apimachinery/kinds/coordination"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
	"github.com/bedplate/bedplate/apimachinery/kinds/discovery"
	"github.com/bedplate/bedplate/netplug"
	"github.com/bedplate/bedplate/netplug/overlay"
	"github.com/bedplate/bedplate/runtime/internal/crash"
)

const (
	// childEnv makes this test binary a node that a test can kill: it holds its configuration.
	childEnv = "NODE_TEST_CHILD"
	// crashEnv names the step at which that node dies.
	crashEnv = "NODE_TEST_CRASH"
)

// dieAt has this process die at a step, at once: at an exit in good order the race detector lets the rest go on for a second.
func dieAt(step string) {
	crash.Set(func(s string) {
		if s == step {
			_ = unix.Kill(unix.Getpid(), unix.SIGKILL)
			select {}
		}
	})
}

// childConfig is what a node in a process of its own is told.
type childConfig struct {
	Name, Dir, HostNetwork string
	Address                netip.Addr
	Node, Network          []byte // kubeconfigs
	Mode                   netplug.Mode
	Between                overlay.Mode
	StopPods               bool
}

// childMain is such a node. It says "ready", and ends in good order on SIGTERM.
func childMain(text string) int {
	var c childConfig
	err := json.Unmarshal([]byte(text), &c)
	if err == nil {
		err = c.run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func (c *childConfig) run() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	self, err := connectAs(c.Node)
	if err != nil {
		return err
	}
	proxy, err := connectAs(c.Network)
	if err != nil {
		return err
	}
	n, err := New(Config{
		Name: c.Name, Dir: c.Dir, HostNetwork: c.HostNetwork, Addresses: []netip.Addr{c.Address}, Client: self, StopPods: c.StopPods,
		Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
		Pods: &PodNetwork{
			Client: proxy, Pods: []netip.Prefix{podRange}, Services: []netip.Prefix{serviceRange}, DNS: dnsAddress, Mode: c.Mode, Between: c.Between,
		},
	})
	if err != nil {
		return err
	}
	go func() {
		<-n.Ready()
		fmt.Println("ready")
	}()
	return n.Run(ctx)
}

func connectAs(config []byte) (*client.Client, error) {
	registry, err := apimachinery.NewRegistry(slices.Concat(core.Resources(), coordination.Resources(), discovery.Resources())...)
	if err != nil {
		return nil, err
	}
	conn, err := kubeconfig.Parse(config)
	if err != nil {
		return nil, err
	}
	return client.New(conn, registry), nil
}

// child is such a process.
type child struct {
	k       *cluster
	name    string
	cmd     *exec.Cmd
	out     bytes.Buffer // to be read once it has ended
	ready   chan struct{}
	ended   chan struct{}
	changes *changes
}

// spawn starts a node in a process of its own, that dies at a step if one is given.
func (k *cluster) spawn(number int, step string, stopPods bool) *child {
	k.Helper()
	c, host := k.config(number)
	k.edit(&c)
	self, err := k.plane.Kubeconfig("system:node:"+c.Name, "system:nodes")
	require.NoError(k, err)
	proxy, err := k.plane.Kubeconfig("system:kube-proxy")
	require.NoError(k, err)
	text, err := json.Marshal(childConfig{c.Name, c.Dir, c.HostNetwork, host.Address, self, proxy, c.Pods.Mode, c.Pods.Between, stopPods})
	require.NoError(k, err)
	p := &child{k: k, name: c.Name, cmd: exec.Command("/proc/self/exe"), ready: make(chan struct{}), ended: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), childEnv+"="+string(text), crashEnv+"="+step, "GORACE="+os.Getenv("GORACE")+" atexit_sleep_ms=0")
	p.cmd.Stderr = &p.out
	stdout, err := p.cmd.StdoutPipe()
	require.NoError(k, err)
	p.changes = k.watch(c.HostNetwork)
	require.NoError(k, p.cmd.Start())
	go func() {
		defer close(p.ended)
		if bufio.NewScanner(stdout).Scan() {
			close(p.ready)
		}
		_ = p.cmd.Wait()
	}()
	k.Cleanup(func() {
		p.kill()
		p.changes.close()
	})
	return p
}

// up waits until the node is ready.
func (p *child) up() *child {
	p.k.Helper()
	select {
	case <-p.ready:
	case <-p.ended:
		require.FailNow(p.k, "the node ended", "%s: %v: %s", p.name, p.cmd.ProcessState, &p.out)
	case <-time.After(patience):
		require.FailNow(p.k, "the node is not ready", p.name)
	}
	return p
}

// stop tells the node to end.
func (p *child) stop() {
	p.k.Helper()
	require.NoError(p.k, p.cmd.Process.Signal(syscall.SIGTERM))
}

// kill ends it, whatever it is at.
func (p *child) kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// over waits until it has ended.
func (p *child) over() {
	p.k.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		require.FailNow(p.k, "the node does not end", p.name)
	}
}

// died waits until it has died where it was told to.
func (p *child) died(step string) {
	p.k.Helper()
	p.over()
	state := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	require.True(p.k, state.Signaled() && state.Signal() == syscall.SIGKILL, "%s: %s: %v: %s", p.name, step, p.cmd.ProcessState, &p.out)
}

// changes counts what the kernel tells of a network namespace: links, addresses, routes, rules, switches.
type changes struct {
	sockets []*os.File
	count   atomic.Int64
	at      atomic.Int64
	hit     chan struct{} // closed at the change whose number is at
}

// watch begins to count.
func (k *cluster) watch(space string) *changes {
	k.Helper()
	c := &changes{hit: make(chan struct{})}
	c.at.Store(-1)
	const nftables = 7 // NFNLGRP_NFTABLES
	kinds := map[int][]int{
		unix.NETLINK_ROUTE: {
			unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV4_NETCONF, unix.RTNLGRP_NEIGH,
		},
		unix.NETLINK_NETFILTER: {nftables},
	}
	for protocol, groups := range kinds {
		var socket *os.File
		err := netplug.Inside(space, func() error {
			fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
			if err != nil {
				return err
			}
			socket = os.NewFile(uintptr(fd), "netlink")
			err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
			for _, g := range groups {
				err = errors.Join(err, unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, g))
			}
			return err
		})
		require.NoError(k, err)
		c.sockets = append(c.sockets, socket)
		go c.read(socket)
	}
	return c
}

func (c *changes) read(socket *os.File) {
	for b := make([]byte, 1<<16); ; {
		if _, err := socket.Read(b); errors.Is(err, unix.ENOBUFS) {
			continue // some are not told one by one
		} else if err != nil {
			return
		}
		if c.count.Add(1) == c.at.Load() {
			close(c.hit)
		}
	}
}

// close ends the count.
func (c *changes) close() {
	for _, s := range c.sockets {
		_ = s.Close()
	}
}

// dieAt kills the node at its n-th change of the network from now on.
func (p *child) dieAt(n int64) {
	p.changes.at.Store(p.changes.count.Load() + n)
	go func() {
		select {
		case <-p.changes.hit:
			p.kill()
		case <-p.ended:
		}
	}()
}
