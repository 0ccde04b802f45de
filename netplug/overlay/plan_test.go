package overlay

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"
)

var epoch = time.Unix(1_700_000_000, 0)

// node is a Node whose age follows from its name.
func node(name, addr string, ranges ...string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(epoch.Add(time.Duration(name[0]) * time.Second))}}
	n.Spec.PodCIDRs = ranges
	if len(ranges) > 0 {
		n.Spec.PodCIDR = ranges[0]
	}
	if addr != "" {
		n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: name}, {Type: corev1.NodeInternalIP, Address: addr}}
	}
	return n
}

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }
func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }

func TestPlan(t *testing.T) {
	nodes := []*corev1.Node{
		node("c", "192.168.0.3", "10.1.3.0/24", "fd00::/64"),
		node("b", "192.168.0.2", "10.1.2.7/24", "10.1.9.0/24"),
		node("a", "192.168.0.1", "10.1.1.0/24"),
		node("new", "192.168.0.9"),
	}
	own := []netip.Prefix{prefix("10.1.1.0/24")}
	cluster := []netip.Prefix{prefix("10.1.1.0/24"), prefix("10.1.2.0/24"), prefix("10.1.3.0/24"), prefix("10.1.9.0/24")}
	require.Equal(t, Desired{Own: own, Cluster: cluster, Routes: []Route{
		{prefix("10.1.2.0/24"), addr("192.168.0.2")}, {prefix("10.1.3.0/24"), addr("192.168.0.3")}, {prefix("10.1.9.0/24"), addr("192.168.0.2")},
	}}, Plan("a", nodes, Routes))
	require.Equal(t, Desired{
		Own: own, Cluster: cluster, Tunnel: Tunnel{Inner: addr("10.1.1.0"), Local: addr("192.168.0.1"), MAC: macOf("a")},
		Routes: []Route{{prefix("10.1.2.0/24"), addr("10.1.2.0")}, {prefix("10.1.3.0/24"), addr("10.1.3.0")}, {prefix("10.1.9.0/24"), addr("10.1.2.0")}},
		Peers:  []Peer{{addr("10.1.2.0"), addr("192.168.0.2"), macOf("b")}, {addr("10.1.3.0"), addr("192.168.0.3"), macOf("c")}},
	}, Plan("a", nodes, VXLAN))
	require.Len(t, Plan("new", nodes, VXLAN).Routes, 4)
	require.Equal(t, Desired{}, Plan("a", nil, Routes))
}

func TestPlanLeavesOut(t *testing.T) {
	for want, n := range map[string]*corev1.Node{
		`node z: pod range "x" is none`:                                         node("z", "192.168.0.2", "x"),
		"node z: pod range 10.1.1.128/25 overlaps 10.1.1.0/24 of an older node": node("z", "192.168.0.2", "10.1.1.128/25"),
		"node z: pod range 0.0.0.0/0 can't be routed":                           node("z", "192.168.0.2", "0.0.0.0/0"),
		"node z: it has no InternalIP of IPv4 yet":                              node("z", "", "10.1.2.0/24"),
		`node z: InternalIP "y" is no address`:                                  node("z", "y", "10.1.2.0/24"),
		"node z: InternalIP 127.0.0.1 can't be reached from another node":       node("z", "127.0.0.1", "10.1.2.0/24"),
	} {
		d := Plan("a", []*corev1.Node{n, node("a", "192.168.0.1", "10.1.1.0/24")}, Routes)
		require.Empty(t, d.Routes)
		require.NotEmpty(t, d.Problems)
		require.Contains(t, d.Problems[len(d.Problems)-1]+d.Problems[0], want)
	}
}

// Whatever the order in which Nodes come, the plan is the same, no two routes overlap, and none overlaps the node's
// own ranges.
func TestPlanIsSound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var nodes []*corev1.Node
		for i := range rapid.IntRange(1, 8).Draw(t, "nodes") {
			r := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(rapid.IntRange(0, 3).Draw(t, "x")), byte(rapid.IntRange(0, 3).Draw(t, "y")), 0}), rapid.IntRange(14, 26).Draw(t, "bits"))
			nodes = append(nodes, node(string(rune('a'+i)), "192.168.0.1", r.String()))
		}
		for _, m := range []Mode{Routes, VXLAN} {
			d := Plan("a", nodes, m)
			require.Equal(t, d, Plan("a", rapid.Permutation(nodes).Draw(t, "order"), m))
			all := append([]netip.Prefix{}, d.Own...)
			for _, r := range d.Routes {
				for _, o := range all {
					require.False(t, o.Overlaps(r.To))
				}
				all = append(all, r.To)
			}
		}
	})
}

func BenchmarkPlan(b *testing.B) {
	var nodes []*corev1.Node
	for i := range 1000 {
		nodes = append(nodes, node("n"+string(rune('0'+i%10))+time.Duration(i).String(), netip.AddrFrom4([4]byte{192, 168, byte(i >> 8), byte(i)}).String(),
			netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 24).String()))
	}
	for b.Loop() {
		if d := Plan("x", nodes, VXLAN); len(d.Routes) != 1000 {
			b.Fatal(len(d.Routes))
		}
	}
}
