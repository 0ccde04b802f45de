package nodelifecycle

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// zones counts nodes by zone and whether they are ready, and holds the pace of each zone. It has no clock and no
// lock.
type zones struct {
	config Config
	at     map[string]place // by node
	zones  map[string]*zone
}

type place struct {
	zone  string
	ready bool
}

type zone struct {
	ready, down int
	tokens      float64 // at most 1: the next node may be tainted
	filled      time.Time
}

func newZones(c Config) *zones {
	return &zones{config: c, at: map[string]place{}, zones: map[string]*zone{}}
}

// excluded is the label of nodes that aren't counted.
const excluded = "node.kubernetes.io/exclude-disruption"

// zoneOf is a name for the zone that a node is in, unique over all regions.
func zoneOf(n *corev1.Node) string {
	first := func(keys ...string) string {
		for _, k := range keys {
			if v, ok := n.Labels[k]; ok {
				return v
			}
		}
		return ""
	}
	return first(corev1.LabelFailureDomainBetaRegion, corev1.LabelTopologyRegion) + "\x00" + first(corev1.LabelFailureDomainBetaZone, corev1.LabelTopologyZone)
}

// set counts a node as it is now.
func (z *zones) set(n *corev1.Node, now time.Time) {
	z.remove(n.Name)
	if _, out := n.Labels[excluded]; out {
		return
	}
	p := place{zoneOf(n), readiness(n) == corev1.ConditionTrue}
	z.at[n.Name] = p
	z.zone(p.zone, now).count(p.ready, 1)
}

func (z *zones) remove(node string) {
	p, ok := z.at[node]
	if !ok {
		return
	}
	delete(z.at, node)
	z.zones[p.zone].count(p.ready, -1)
}

// zone returns a zone; a new one has a token. Those without nodes stay: they are as many as there are names.
func (z *zones) zone(name string, now time.Time) *zone {
	if z.zones[name] == nil {
		z.zones[name] = &zone{tokens: 1, filled: now}
	}
	return z.zones[name]
}

func (z *zone) count(ready bool, by int) {
	if ready {
		z.ready += by
	} else {
		z.down += by
	}
}

// stopped says whether all zones are down: there are nodes, and not one is ready.
func (z *zones) stopped() bool {
	for _, p := range z.at {
		if p.ready {
			return false
		}
	}
	return len(z.at) > 0
}

// rate is how many nodes of a zone may be tainted each second: as many as usual where all is well, and also where no
// node of the zone is left (others are, or stopped would hold); fewer, or none, where much of it is down.
func (z *zones) rate(of *zone) float64 {
	all := of.ready + of.down
	if of.ready == 0 || of.down < 3 || float64(of.down)/float64(all) < z.config.Unhealthy {
		return z.config.Rate
	}
	if all > z.config.LargeZone {
		return z.config.SecondaryRate
	}
	return 0
}

// look is how soon to look again at a zone in which nothing may be evicted.
const look = 5 * time.Second

// take takes a zone's token, or says how long to wait before the next try.
func (z *zones) take(name string, now time.Time) (wait time.Duration) {
	of := z.zone(name, now)
	rate := z.rate(of)
	of.tokens = min(1, of.tokens+now.Sub(of.filled).Seconds()*rate)
	of.filled = now
	switch {
	case of.tokens >= 1-1e-9: // it is filled by parts, which don't add up to the last bit
		of.tokens = 0
		return 0
	case rate == 0:
		return look
	}
	return min(look, time.Duration((1-of.tokens)/rate*float64(time.Second))+time.Millisecond)
}
