package proxy

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// drawChanges replaces some of eight services, which quarrel about few frontends.
func drawChanges(t *rapid.T) map[string][]ServicePort {
	changes := map[string][]ServicePort{}
	for range rapid.IntRange(1, 4).Draw(t, "changes") {
		key := fmt.Sprint("default/", rapid.IntRange(0, 7).Draw(t, "service"))
		var ports []ServicePort
		for n := range rapid.IntRange(0, 2).Draw(t, "ports") {
			ports = append(ports, drawPort(t, key, n))
		}
		changes[key] = ports
	}
	return changes
}

func drawPort(t *rapid.T, key string, n int) ServicePort {
	frontend := func(net byte) Frontend {
		return Frontend{netip.AddrFrom4([4]byte{net, 0, 0, rapid.Byte().Filter(func(b byte) bool { return b < 10 }).Draw(t, "vip")}),
			rapid.SampledFrom([]Protocol{TCP, UDP}).Draw(t, "proto"), uint16(80 + n)}
	}
	eps := rapid.SliceOfNDistinct(rapid.Uint8Range(1, 12), 0, 8, rapid.ID[uint8])
	addrs := func(label string) (list []netip.AddrPort) {
		for _, b := range eps.Draw(t, label) {
			list = append(list, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 244, 0, b}), 8080))
		}
		slices.SortFunc(list, netip.AddrPort.Compare)
		return list
	}
	p := ServicePort{Service: key, Name: fmt.Sprint("p", n), Created: time.Unix(rapid.Int64Range(0, 2).Draw(t, "created"), 0),
		Internal: frontend(11), InternalLocal: rapid.Bool().Draw(t, "internal local"), ExternalLocal: rapid.Bool().Draw(t, "external local"),
		Affinity: time.Duration(rapid.IntRange(0, 1).Draw(t, "affinity")) * time.Hour, Cluster: addrs("cluster")}
	if len(p.Cluster) > 0 {
		p.Local = p.Cluster[:rapid.IntRange(0, len(p.Cluster)).Draw(t, "local")]
	}
	for _, at := range p.Local {
		p.Here = append(p.Here, at.Addr())
	}
	for range rapid.IntRange(0, 2).Draw(t, "externals") {
		f := frontend(rapid.SampledFrom([]byte{11, 12}).Draw(t, "net"))
		if f != p.Internal && !slices.ContainsFunc(p.External, func(e External) bool { return e.Frontend == f }) {
			p.External = append(p.External, External{f, rapid.SampledFrom([]Rank{NodePort, LoadBalancer, ExternalIP}).Draw(t, "rank")})
		}
	}
	return p
}

// lists are the endpoints of each list, without their order.
func (e elements) lists() map[slot][]netip.AddrPort {
	lists := map[slot][]netip.AddrPort{}
	for _, m := range []map[slot]netip.AddrPort{e.endpoints, e.sticky} {
		for s, at := range m {
			head := slot{s.Frontend, s.number / localSlots * localSlots}
			lists[head] = append(lists[head], at)
		}
	}
	for _, l := range lists {
		slices.SortFunc(l, netip.AddrPort.Compare)
	}
	return lists
}

// play applies a difference to a state, as the kernel does: a deletion of what isn't there, or an addition of what
// is, would fail.
func play(t require.TestingT, e *elements, d difference) {
	n := e.len()
	e.subtract(d.del)
	require.Equal(t, n-d.del.len(), e.len(), "each deletion is of something")
	n = e.len()
	e.merge(d.add)
	require.Equal(t, n+d.add.len(), e.len(), "each addition is of something new")
}

// TestDifferences: random changes applied by difference lead to what a rebuild from nothing has.
func TestDifferences(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, kernel, now := newRuleSet(), newElements(), map[string][]ServicePort{}
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			changes := drawChanges(t)
			play(t, &kernel, r.update(changes))
			maps.Copy(now, changes)
		}
		fresh := newRuleSet()
		fresh.update(now)
		for _, e := range []*elements{&kernel, &r.all, &fresh.all} {
			e.classes = nil
		}
		require.Equal(t, r.all, kernel)
		require.Equal(t, fresh.all.lists(), kernel.lists())
		for _, e := range []*elements{&kernel, &fresh.all} {
			e.endpoints, e.sticky = nil, nil
		}
		require.Equal(t, fresh.all, kernel)
		for head, list := range r.all.lists() {
			for i := range list {
				_, ok := r.all.at(slot{head.Frontend, head.number + uint32(i)})
				require.True(t, ok, "slots have no gaps: %v", head)
			}
		}
	})
}

func TestArrange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(label string) (list []netip.AddrPort) {
			for _, b := range rapid.SliceOfDistinct(rapid.Uint8Range(0, 30), rapid.ID[uint8]).Draw(t, label) {
				list = append(list, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, b}), 1))
			}
			return list
		}
		old, want := draw("old"), draw("want")
		got := arrange(old, want)
		require.ElementsMatch(t, want, got)
		for i, at := range old {
			if i < len(got) && slices.Contains(want, at) {
				require.Equal(t, at, got[i], "who stays keeps its place")
			}
		}
	})
}

func TestClaims(t *testing.T) {
	shared := Frontend{netip.MustParseAddr("1.2.3.4"), TCP, 80}
	port := func(name string, last byte, rank Rank, created int64) []ServicePort {
		return []ServicePort{{Service: name, Created: time.Unix(created, 0), Internal: Frontend{netip.AddrFrom4([4]byte{10, 96, 0, last}), TCP, 80},
			External: []External{{shared, rank}}, Cluster: []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 244, 0, last}), 8080)}}}
	}
	r := newRuleSet()
	has := func(last byte) {
		t.Helper()
		require.Equal(t, last, r.all.endpoints[slot{shared, 0}].Addr().As4()[3])
	}
	r.update(map[string][]ServicePort{"b": port("b", 2, ExternalIP, 1)})
	has(2)
	r.update(map[string][]ServicePort{"a": port("a", 1, ExternalIP, 2)})
	has(2) // the older
	r.update(map[string][]ServicePort{"c": port("c", 3, LoadBalancer, 3)})
	has(3) // the stronger
	d := r.update(map[string][]ServicePort{"c": nil})
	has(2)
	require.Equal(t, 1, len(d.del.endpoints)-1, "its cluster IP and the shared one")
	r.update(map[string][]ServicePort{"b": nil})
	has(1)
	r.update(map[string][]ServicePort{"a": nil})
	require.Zero(t, r.all.len())
	require.Empty(t, r.claims)
}
