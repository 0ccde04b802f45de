//go:build linux

package node

import (
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bedplate/bedplate"
	"github.com/bedplate/bedplate/netplug"
	"github.com/bedplate/bedplate/netplug/overlay"
	"github.com/bedplate/bedplate/runtime"
)

// TestConfig: what can be known before anything is opened is said by New.
func TestConfig(t *testing.T) {
	k := newCluster(t, bedplate.Config{}, nil)
	for _, c := range []struct {
		name string
		edit func(*Config)
		says string
	}{
		{"no name", func(c *Config) { c.Name = "" }, "Name and Client must be set"},
		{"no client", func(c *Config) { c.Client = nil }, "Name and Client must be set"},
		{"relative folder", func(c *Config) { c.Dir = "data" }, `configure node node-1: folder "data" is not absolute`},
		{"relative namespace", func(c *Config) { c.HostNetwork = "netns" }, `HostNetwork "netns" is no absolute path`},
		{"namespace without addresses", func(c *Config) { c.HostNetwork, c.Addresses = "/run/netns/x", nil }, "HostNetwork without Addresses"},
		{"two networks", func(c *Config) { c.Network = (*netplug.Network)(nil) }, "both Pods and Network are set"},
		{"network without client", func(c *Config) { c.Pods.Client = nil }, "PodNetwork.Client must be set"},
		{"no ranges", func(c *Config) { c.Pods.Pods = nil }, "PodNetwork.Pods and Services must be set"},
		{"overlap", func(c *Config) {
			c.Pods.Services = []netip.Prefix{netip.MustParsePrefix("10.244.128.0/17")}
			c.Pods.DNS = netip.Addr{}
		},
			"the ranges 10.244.0.0/16 and 10.244.128.0/17 overlap"},
		{"node in a range", func(c *Config) { c.Pods.Pods = []netip.Prefix{netip.MustParsePrefix("10.245.0.0/16")} },
			"the node's address 10.245.0.1 is in the range 10.245.0.0/16"},
		{"DNS elsewhere", func(c *Config) { c.Pods.DNS = netip.MustParseAddr("1.2.3.4") }, "PodNetwork.DNS 1.2.3.4 is in none of the services' ranges"},
	} {
		t.Run(c.name, func(t *testing.T) {
			config, _ := k.config(1)
			c.edit(&config)
			_, err := New(config)
			require.ErrorContains(t, err, c.says)
			require.True(t, strings.HasPrefix(err.Error(), "configure node"), err.Error())
			require.NotContains(t, err.Error(), "\n")
		})
	}
}

// TestRefused: what stands in the way of a node when it starts is told in one line, and nothing of the node is left.
func TestRefused(t *testing.T) {
	k := newCluster(t, bedplate.Config{}, nil)
	machine := k.machines.Machine().Address
	taken, err := net.Listen("tcp", netip.AddrPortFrom(machine, 0).String())
	require.NoError(t, err)
	defer taken.Close()
	before, err := inventory()
	require.NoError(t, err)
	for i, c := range []struct {
		name string
		edit func(*Config)
		says string
	}{
		{"port in use", func(c *Config) { c.Listen = taken.Addr().String() }, "address already in use"},
		{"port in use, stopping pods", func(c *Config) { c.Listen = taken.Addr().String() }, "address already in use"},
		{"no such namespace", func(c *Config) { c.HostNetwork = "/run/netns/nothing" }, "/run/netns/nothing: no such file or directory"},
		{"address of another machine", func(c *Config) { c.Addresses = []netip.Addr{netip.MustParseAddr("192.0.2.1")} }, "cannot assign requested address"},
		{"no IPv4 for DNS", func(c *Config) { c.Addresses = []netip.Addr{netip.MustParseAddr("::1")} }, "serve DNS: the node has no IPv4 address"},
		{"bad mode", func(c *Config) { c.Pods.Mode = 7 }, "mode 7 is neither Routed nor Bridge"},
		{"bad way", func(c *Config) { c.Pods.Between = 7 }, "mode 7 is neither Routes nor VXLAN"},
		{"API says no", func(c *Config) { c.Name = "another" }, "forbidden"},
	} {
		t.Run(c.name, func(t *testing.T) {
			config, _ := k.config(1)
			config.StopPods = i == 1 // whether pods are to be stopped makes no difference to a node that has none
			c.edit(&config)
			n, err := New(config)
			require.NoError(t, err)
			err = n.Run(t.Context())
			require.ErrorContains(t, err, c.says)
			require.True(t, strings.HasPrefix(err.Error(), "run node "+config.Name+": "), err.Error())
			require.NotContains(t, err.Error(), "\n")
			require.ErrorContains(t, n.Run(t.Context()), "it ran already")
			k.TB = t
			k.nothingLeft(before)
		})
	}
	k.TB = t
	k.start(1) // it was no fault of the folder
}

// TestFolderInUse: two nodes can't share a folder, and the first is not disturbed by the second.
func TestFolderInUse(t *testing.T) {
	k := newCluster(t, bedplate.Config{}, nil, 1)
	k.run("web", 1, served(spec(web)))
	p := k.up("web")
	before, err := inventory()
	require.NoError(t, err)
	config, _ := k.config(1)
	n, err := New(config)
	require.NoError(t, err)
	require.ErrorIs(t, n.Run(t.Context()), runtime.ErrInUse)
	k.nothingLeft(before)
	k.sees("", "http://"+p.Status.PodIP+":8080", "web")
}

// TestEndedAtOnce: a node that is told to end before it is ready leaves nothing.
func TestEndedAtOnce(t *testing.T) {
	k := newCluster(t, bedplate.Config{}, nil)
	before, err := inventory()
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	config, _ := k.config(1)
	config.StopPods, config.Pods.Between = false, overlay.VXLAN
	n, err := New(config)
	require.NoError(t, err)
	require.NoError(t, n.Run(ctx))
	k.nothingLeft(before)
	require.NoFileExists(t, filepath.Join(config.Dir, "pods"))
	require.Nil(t, n.Images(ctx))
	_, err = os.Stat(filepath.Join(config.Dir, "runtime"))
	require.ErrorIs(t, err, os.ErrNotExist)
}
