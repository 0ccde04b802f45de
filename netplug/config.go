//go:build linux

package netplug

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"regexp"
)

// Mode is how the pods of a node are connected.
type Mode int

const (
	// Routed gives each pod a /32 and the host a route to it. All that pods send passes the host's IP layer, so that
	// services and policy see it.
	Routed Mode = iota
	// Bridge connects the pods of the node by a bridge. What they send each other stays below the IP layer.
	Bridge
)

// String is the mode's name.
func (m Mode) String() string {
	if m == Bridge {
		return "bridge"
	}
	return "routed"
}

// Config says how the pods of a node are connected. The zero value works: routed pods in the process's own network
// namespace, once [Network.SetRanges] was called.
type Config struct {
	// Host is the path of the node's network namespace, such as /run/netns/blue. Empty: the process's own, as it is
	// when New is called.
	Host string
	// Prefix begins the names of all that is made in the kernel: one to four of a-z and 0-9, a letter first; "bp" by
	// default. Two Networks in one namespace need two prefixes, two protocols, and ranges apart from each other.
	Prefix string
	// Ranges are the node's pod ranges (Node.spec.podCIDRs). They may come later, by SetRanges: until then Attach
	// waits. Of each, the first two addresses and the last are not given to pods.
	Ranges []netip.Prefix
	// NonMasquerade are ranges, beside those of the node, that pods reach under their own address: the cluster's pod
	// range, say.
	NonMasquerade []netip.Prefix
	// NoMasquerade leaves outgoing traffic as it is.
	NoMasquerade bool
	// Mode is Routed or Bridge.
	Mode Mode
	// MTU of the pods' links in bytes; 0: that of the host's uplink (the link of its default route, else 1500) less
	// Overhead.
	MTU int
	// Overhead is what a tunnel between nodes adds to a packet, in bytes: 50 for VXLAN.
	Overhead int
	// Protocol marks the routes that are made; 92 by default. Routes of this protocol are all taken for ours.
	Protocol int
	// Log hears of what is repaired and removed beside a call; nil: off.
	Log *slog.Logger
}

var prefixes = regexp.MustCompile(`^[a-z][a-z0-9]{0,3}$`)

func (c *Config) validate() error {
	switch {
	case !prefixes.MatchString(c.Prefix):
		return fmt.Errorf("prefix %q: one to four of a-z and 0-9, a letter first", c.Prefix)
	case c.Mode != Routed && c.Mode != Bridge:
		return fmt.Errorf("mode %d is neither Routed nor Bridge", c.Mode)
	case c.MTU < 0, c.Overhead < 0, c.MTU != 0 && c.MTU < 576, c.MTU > 65535:
		return fmt.Errorf("MTU %d and overhead %d: the MTU must be 576 to 65535, the overhead not negative", c.MTU, c.Overhead)
	case c.Protocol <= 4 || c.Protocol > 255:
		return fmt.Errorf("route protocol %d: 5 to 255", c.Protocol)
	}
	return errors.Join(checkRanges(c.Ranges), checkPrefixes(c.NonMasquerade))
}

func (c Config) withDefaults() Config {
	if c.Prefix == "" {
		c.Prefix = "bp"
	}
	if c.Protocol == 0 {
		c.Protocol = 92
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// checkRanges says whether addresses can be given out of the ranges.
func checkRanges(ranges []netip.Prefix) error {
	if err := checkPrefixes(ranges); err != nil {
		return err
	}
	for n, r := range ranges {
		if r.Addr().BitLen()-r.Bits() < 2 {
			return fmt.Errorf("pod range %s has no address for a pod: at least four are needed", r)
		}
		for _, o := range ranges[:n] {
			if o.Overlaps(r) {
				return fmt.Errorf("pod ranges %s and %s overlap", o, r)
			}
		}
	}
	return nil
}

func checkPrefixes(list []netip.Prefix) error {
	for _, p := range list {
		if !p.IsValid() {
			return errors.New("a range is not a valid prefix")
		}
	}
	return nil
}
