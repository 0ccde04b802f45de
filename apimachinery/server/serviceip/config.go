package serviceip

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery/server"
)

// The node ports that Services get where nothing else is configured.
const FirstNodePort, LastNodePort = 30000, 32767

// Config configures an [Allocator].
type Config struct {
	// Ranges are where cluster addresses come from: one, or one of each family, of which the first is what
	// Services get that name no family. Default: 10.96.0.0/16. An IPv4 range is no smaller than /30, an IPv6
	// range between /64 and /126. ServiceCIDR objects add to them.
	Ranges []netip.Prefix
	// FirstPort and LastPort bound the node ports. Default: [FirstNodePort] to [LastNodePort].
	FirstPort, LastPort int32
	// Random returns a number from 0 up to, but not including, below. It is called concurrently. Default: math/rand/v2.
	Random func(below uint64) uint64
}

func (c *Config) validate() error {
	if len(c.Ranges) > 2 {
		return fmt.Errorf("%d ranges: give one, or one of each IP family", len(c.Ranges))
	}
	for i, p := range c.Ranges {
		bits := p.Addr().BitLen() - p.Bits()
		switch {
		case !p.IsValid() || p.Addr().Is4In6() || p != p.Masked():
			return fmt.Errorf("range %s is not the prefix of a network", p)
		case bits < 2 || p.Addr().Is6() && bits > 64:
			return fmt.Errorf("range %s: it must leave 2 to 64 bits for addresses", p)
		case i > 0 && p.Addr().Is4() == c.Ranges[0].Addr().Is4():
			return errors.New("both ranges are of one IP family")
		}
	}
	if c.FirstPort < 1 || c.LastPort < c.FirstPort || c.LastPort > 65535 {
		return fmt.Errorf("node ports %d-%d are no range of ports", c.FirstPort, c.LastPort)
	}
	return nil
}

// Allocator implements [server.IPAllocator]. It has no state, and is safe for concurrent use.
type Allocator struct {
	c        Config
	ranges   []cidr
	families []corev1.IPFamily // those of the ranges; the first is the default
	ports    span
}

var _ server.IPAllocator = (*Allocator)(nil)

// New makes an allocator.
func New(c Config) (*Allocator, error) {
	if len(c.Ranges) == 0 {
		c.Ranges = []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16")}
	}
	if c.FirstPort == 0 && c.LastPort == 0 {
		c.FirstPort, c.LastPort = FirstNodePort, LastNodePort
	}
	if c.Random == nil {
		c.Random = rand.Uint64N
	}
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("configure service addresses: %w", err)
	}
	a := &Allocator{c: c}
	for _, p := range c.Ranges {
		a.ranges = append(a.ranges, newCIDR(p))
		a.families = append(a.families, familyOf(p.Addr()))
	}
	size := uint64(c.LastPort-c.FirstPort) + 1
	a.ports = banded(size, size, 16, 128, 32)
	return a, nil
}

func familyOf(a netip.Addr) corev1.IPFamily {
	if a.Is4() {
		return corev1.IPv4Protocol
	}
	return corev1.IPv6Protocol
}

func (a *Allocator) has(f corev1.IPFamily) bool { return slices.Contains(a.families, f) }

// First is the first address of the first range, which the Service "kubernetes" asks for.
func (a *Allocator) First() netip.Addr { return a.ranges[0].first }

// ServiceCIDR is the object "kubernetes", which shows the configured ranges. It is for whoever assembles a cluster to
// create it at the start if there is none; addresses are allocated without it.
func (a *Allocator) ServiceCIDR() *networkingv1.ServiceCIDR {
	s := &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: "kubernetes"}}
	for _, r := range a.ranges {
		s.Spec.CIDRs = append(s.Spec.CIDRs, r.prefix.String())
	}
	return s
}
