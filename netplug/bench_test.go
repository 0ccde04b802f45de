//go:build linux

package netplug

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
)

// times reports percentiles in milliseconds.
func times(b *testing.B, name string, list []time.Duration) {
	slices.Sort(list)
	for _, p := range []int{50, 99} {
		at := list[min(len(list)*p/100, len(list)-1)]
		b.ReportMetric(float64(at.Microseconds())/1000, fmt.Sprintf("%s-p%d-ms", name, p))
	}
}

func benchConfig(host *space, mode Mode) Config {
	return Config{Host: host.path(), Mode: mode, Ranges: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")}}
}

// BenchmarkAttach measures a pod's set-up, beside its floor: a bare pair with an address and a route.
func BenchmarkAttach(b *testing.B) {
	for _, mode := range modes {
		b.Run(mode.String(), func(b *testing.B) {
			host, _ := newHost(b)
			n := start(b, benchConfig(host, mode))
			var list, floor []time.Duration
			for b.Loop() {
				s := newSpace(b)
				began := time.Now()
				_, err := n.Attach(b.Context(), nil, fmt.Sprint("s", len(list)), s.path())
				list = append(list, time.Since(began))
				require.NoError(b, err)
				s.end()
				f := newSpace(b)
				began = time.Now()
				bare(b, host, f, fmt.Sprint("f", len(list)))
				floor = append(floor, time.Since(began))
				f.end()
			}
			times(b, "attach", list)
			times(b, "floor", floor)
		})
	}
}

func bare(b *testing.B, host, s *space, name string) {
	v := netlink.NewVeth(netlink.LinkAttrs{Name: name, Flags: net.FlagUp})
	v.PeerName, v.PeerNamespace = inPod, netlink.NsFd(int(s.Fd()))
	require.NoError(b, host.h.LinkAdd(v))
	l, err := s.h.LinkByName(inPod)
	require.NoError(b, err)
	addr := netip.MustParseAddr("10.100.0.2")
	require.NoError(b, s.h.AddrAdd(l, &netlink.Addr{IPNet: hostNet(addr)}))
	require.NoError(b, s.h.LinkSetUp(l))
	require.NoError(b, host.h.RouteReplace(&netlink.Route{LinkIndex: v.Index, Dst: hostNet(addr), Scope: netlink.SCOPE_LINK}))
}

// BenchmarkDetach measures the end of 60 pods, of Detach alone and until the last link is gone, in which the
// namespaces go too (as they do with an agent) or stay; beside its floor, the end of 60 namespaces with bare pairs.
func BenchmarkDetach(b *testing.B) {
	const pods = 60
	for name, stay := range map[string]bool{"namespaces-go": false, "namespaces-stay": true} {
		b.Run(name, func(b *testing.B) {
			host, _ := newHost(b)
			n := start(b, benchConfig(host, Routed))
			var each, all, floor []time.Duration
			round := func(end func(i int, s *space)) time.Duration {
				spaces := make([]*space, pods)
				for i := range spaces {
					spaces[i] = newSpace(b)
				}
				if end == nil {
					for i, s := range spaces {
						bare(b, host, s, fmt.Sprint("bp-f", i))
					}
					end = func(_ int, s *space) { s.end() }
				} else {
					for i, s := range spaces {
						_, err := n.Attach(b.Context(), nil, fmt.Sprint("s", i), s.path())
						require.NoError(b, err)
					}
				}
				began := time.Now()
				for i, s := range spaces {
					end(i, s)
				}
				if stay {
					require.NoError(b, n.reap())
					for i := range spaces { // the floor's
						_ = host.h.LinkDel(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: fmt.Sprint("bp-f", i)}})
					}
				}
				for len(podLinks(b, host)) > 0 { // asking takes a while, and is all that can be waited for
				}
				took := time.Since(began) / pods
				if stay {
					for _, s := range spaces {
						s.end()
					}
				}
				return took
			}
			for b.Loop() {
				all = append(all, round(func(i int, s *space) {
					began := time.Now()
					require.NoError(b, n.Detach(b.Context(), fmt.Sprint("s", i)))
					each = append(each, time.Since(began))
					if !stay {
						s.end()
					}
				}))
				floor = append(floor, round(nil))
			}
			times(b, "detach", each)
			times(b, "gone-per-pod", all)
			times(b, "floor-per-pod", floor)
		})
	}
}
