package fairness

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"pgregory.net/rapid"

	"github.com/bedplate/bedplate/apimachinery"
)

func TestDealGivesDifferentCardsEvenly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		deck := rapid.IntRange(1, 512).Draw(t, "deck")
		size := rapid.IntRange(1, 12).Draw(t, "size")
		var hand [maxHand]int
		n := deal(rapid.Uint64().Draw(t, "hash"), deck, size, &hand)
		if n != min(deck, size) {
			t.Fatalf("%d cards of %d out of %d", n, size, deck)
		}
		seen := map[int]bool{}
		for _, c := range hand[:n] {
			if c < 0 || c >= deck || seen[c] {
				t.Fatalf("hand %v", hand[:n])
			}
			seen[c] = true
		}
	})
	counts := make([]int, 8)
	var hand [maxHand]int
	for hash := range uint64(8 * 7 * 6) { // every hand once
		for _, c := range hand[:deal(hash, 8, 3, &hand)] {
			counts[c]++
		}
	}
	for _, n := range counts {
		require.Equal(t, 8*7*6*3/8, n)
	}
}

func TestLimitsOfLevels(t *testing.T) {
	require.Equal(t, limits{74, 50, math.MaxInt32}, limitsOf(600, 30, 245, 33, -1), "system of the suggested configuration")
	require.Equal(t, limits{10, 5, 20}, limitsOf(100, 10, 100, 50, 100))
	require.Equal(t, limits{0, 0, math.MaxInt32}, limitsOf(600, 0, 245, 0, -1))
	require.Equal(t, limits{0, 0, 0}, limitsOf(600, 0, 0, 0, 0), "no shares at all")
}

func TestDivideKeepsBoundsAndSum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var wants []want
		low, high := 0.0, 0.0
		for range rapid.IntRange(1, 8).Draw(t, "levels") {
			w := want{lower: float64(rapid.IntRange(0, 50).Draw(t, "lower"))}
			w.upper = w.lower + float64(rapid.IntRange(0, 200).Draw(t, "room"))
			w.target = w.lower + float64(rapid.IntRange(0, 300).Draw(t, "target"))
			wants, low, high = append(wants, w), low+w.lower, high+w.upper
		}
		sum := low + (high-low)*rapid.Float64Range(0, 1).Draw(t, "part")
		seats, fraction := divide(sum, wants)
		total := 0.0
		for i, w := range wants {
			total += seats[i]
			fair := fraction * math.Max(w.target, 0.001)
			if seats[i] < w.lower-1e-6 || seats[i] > w.upper+1e-6 {
				t.Fatalf("%v outside of %+v", seats[i], w)
			}
			if math.Abs(seats[i]-fair) > 1e-6 && seats[i] != w.lower && seats[i] != w.upper {
				t.Fatalf("%v is neither fair (%v) nor a bound of %+v", seats[i], fair, w)
			}
		}
		if math.Abs(total-sum) > 1e-3*math.Max(1, sum) {
			t.Fatalf("%v seats out of %v", total, sum)
		}
	})
}

func TestRetryGrowsUnderPressure(t *testing.T) {
	var r retries
	require.EqualValues(t, 1, r.refused(1000))
	for range 5 {
		require.EqualValues(t, 1, r.refused(1000))
	}
	require.EqualValues(t, 2, r.refused(1001), "six in a second")
	longest := int64(0)
	for s := int64(1002); s < 1300; s++ {
		for range 200 {
			longest = max(longest, r.refused(s))
		}
	}
	require.EqualValues(t, maxRetry, longest)
	var last int64
	for s := int64(2000); s < 2100; s += 2 {
		last = r.refused(s)
	}
	require.Less(t, last, int64(maxRetry), "it shrinks when few are refused")
}

func TestDemand(t *testing.T) {
	var d demand
	d.set(0, 4)
	d.set(5*time.Second, 0)
	d.period(10 * time.Second)
	require.InDelta(t, 2, d.average, 1e-9)
	require.InDelta(t, 2, d.deviation, 1e-9)
	require.InDelta(t, 4, d.watermark, 1e-9)
	require.InDelta(t, 4, d.smoothed, 1e-9)
	d.period(20 * time.Second)
	require.Zero(t, d.watermark)
	require.InDelta(t, 4*smoothing, d.smoothed, 1e-9, "demand fades slowly")
}

// runner drives queues by hand.
type runner struct {
	queues
	now time.Duration
}

func newRunner(limit, deck, hand, length int) *runner {
	r := &runner{}
	r.limit = limit
	r.shape(deck, hand, length)
	return r
}

func (r *runner) ask(hash uint64, seats int) (*item, verdict) {
	it := &item{flow: &flow{}, Work: Work{Seats: seats}}
	return it, r.arrive(r.now, it, hash)
}

func TestLevelWithoutQueuesRefuses(t *testing.T) {
	r := newRunner(2, 0, 0, 0)
	a, v := r.ask(1, 1)
	require.Equal(t, starts, v)
	_, v = r.ask(1, 1)
	require.Equal(t, starts, v)
	_, v = r.ask(1, 1)
	require.Equal(t, levelFull, v)
	r.finish(r.now, a)
	_, v = r.ask(1, 1)
	require.Equal(t, starts, v)
}

func TestQueuesHaveALength(t *testing.T) {
	r := newRunner(1, 1, 1, 3)
	_, v := r.ask(1, 1)
	require.Equal(t, starts, v)
	var waiting []*item
	for range 3 {
		it, v := r.ask(1, 1)
		require.Equal(t, waits, v)
		waiting = append(waiting, it)
	}
	_, v = r.ask(1, 1)
	require.Equal(t, queueFull, v)
	require.True(t, r.leave(r.now, waiting[1]))
	require.Equal(t, 2, r.waiting)
	it, v := r.ask(1, 1)
	require.Equal(t, waits, v)
	r.finish(r.now, r.first)
	require.True(t, waiting[0].running, "first come, first served in a queue")
	require.False(t, r.leave(r.now, waiting[0]))
	require.False(t, it.running)
}

// A flow that floods must not take more than its part from one that asks politely.
func TestFlowsShareSeatsEvenly(t *testing.T) {
	r := newRunner(4, 64, 1, 50)
	hashOf := func(queue int) uint64 { return uint64(queue) }
	done := map[uint64]int{}
	of := map[*item]uint64{}
	ask := func(flow int) {
		it, v := r.ask(hashOf(flow), 1)
		if v == starts || v == waits {
			of[it] = hashOf(flow)
		}
	}
	for range 2000 {
		for range 10 {
			ask(1) // floods
		}
		ask(2) // one at a time, two queues of the polite
		ask(3)
		r.now += 10 * time.Millisecond
		for range 4 {
			if it := r.first; it != nil {
				oldest := it
				for ; it != nil; it = it.next {
					if it.started <= oldest.started {
						oldest = it
					}
				}
				r.finish(r.now, oldest)
				done[of[oldest]]++
			}
		}
	}
	require.GreaterOrEqual(t, done[2], 1950, "the polite get all that they ask for: %v", done)
	require.GreaterOrEqual(t, done[3], 1950, "%v", done)
	require.GreaterOrEqual(t, done[1], 3900, "and the flood gets the rest: %v", done)
}

func TestWideRequestsWaitForRoom(t *testing.T) {
	r := newRunner(4, 8, 1, 10)
	narrow, _ := r.ask(1, 1)
	wide, v := r.ask(2, 4)
	require.Equal(t, waits, v)
	late, v := r.ask(2, 1)
	require.Equal(t, waits, v, "nobody overtakes in a queue")
	r.finish(r.now, narrow)
	require.True(t, wide.running)
	require.False(t, late.running)
	r.finish(r.now, wide)
	require.True(t, late.running)
	r.finish(r.now, late)
	huge, v := r.ask(1, 100)
	require.Equal(t, starts, v, "one that is wider than the level goes alone")
	_, v = r.ask(2, 1)
	require.Equal(t, waits, v)
	r.finish(r.now, huge)
}

func TestSeatsStayTakenForWhatARequestSetsOff(t *testing.T) {
	r := newRunner(2, 8, 1, 10)
	it := &item{flow: &flow{}, Work: Work{Seats: 1, Final: 2, Extra: 5 * time.Millisecond}}
	require.Equal(t, starts, r.arrive(0, it, 1))
	r.finish(time.Millisecond, it)
	next, v := r.ask(2, 1)
	require.Equal(t, waits, v)
	require.Equal(t, 6*time.Millisecond, r.wakeAt())
	r.dispatch(6 * time.Millisecond)
	require.True(t, next.running)
	require.Zero(t, r.wakeAt())
}

func TestFewerQueuesDrain(t *testing.T) {
	r := newRunner(1, 4, 1, 10)
	_, _ = r.ask(0, 1)
	it, v := r.ask(3, 1)
	require.Equal(t, waits, v)
	r.shape(2, 1, 10)
	require.Len(t, r.list, 4, "somebody waits in the last")
	r.finish(r.now, r.first)
	require.True(t, it.running)
	r.finish(r.now, it)
	require.Len(t, r.list, 2)
}

// Whatever happens, seats and queues add up.
func TestQueuesAddUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newRunner(rapid.IntRange(0, 6).Draw(t, "limit"), rapid.IntRange(0, 6).Draw(t, "deck"), 2, 4)
		var waiting, running []*item
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			r.now += time.Duration(rapid.IntRange(0, 5000).Draw(t, "us")) * time.Microsecond
			switch op := rapid.IntRange(0, 3).Draw(t, "op"); {
			case op <= 1:
				it := &item{flow: &flow{}, Work: Work{Seats: rapid.IntRange(1, 3).Draw(t, "seats")}, start: make(chan struct{})}
				if rapid.Bool().Draw(t, "extra") {
					it.Final, it.Extra = 2, 2*time.Millisecond
				}
				switch r.arrive(r.now, it, rapid.Uint64().Draw(t, "hash")) {
				case waits:
					waiting = append(waiting, it)
				case starts:
					running = append(running, it)
				}
			case op == 2 && len(running) > 0:
				r.finish(r.now, running[0])
				running = running[1:]
			case op == 3 && len(waiting) > 0:
				r.leave(r.now, waiting[len(waiting)-1])
				waiting = waiting[:len(waiting)-1]
			}
			waiting = slices.DeleteFunc(waiting, func(it *item) bool {
				if it.running {
					running = append(running, it)
				}
				return it.running
			})
			checkSums(t, r, waiting, running)
		}
		for len(running) > 0 {
			r.now += 10 * time.Millisecond
			r.dispatch(r.now)
			waiting = slices.DeleteFunc(waiting, func(it *item) bool {
				if it.running {
					running = append(running, it)
				}
				return it.running
			})
			r.finish(r.now, running[0])
			running = running[1:]
		}
	})
}

func checkSums(t *rapid.T, r *runner, waiting, running []*item) {
	inUse, inLine := 0, 0
	for _, it := range running {
		inUse += it.width()
	}
	for _, h := range r.later {
		inUse += h.seats
	}
	for _, it := range waiting {
		inLine += it.width()
	}
	active := 0
	for _, q := range r.list {
		if !q.idle() {
			active++
		}
	}
	if r.inUse != inUse || r.running != len(running) || r.waiting != len(waiting) || r.inLine != inLine || r.active != active {
		t.Fatalf("in use %d/%d, running %d/%d, waiting %d/%d, in line %d/%d, active %d/%d",
			r.inUse, inUse, r.running, len(running), r.waiting, len(waiting), r.inLine, inLine, r.active, active)
	}
	if r.waiting > 0 && r.inUse == 0 {
		t.Fatal("somebody waits though nobody runs")
	}
}

func TestMatching(t *testing.T) {
	group := func(n string) flowcontrolv1.Subject {
		return flowcontrolv1.Subject{Kind: "Group", Group: &flowcontrolv1.GroupSubject{Name: n}}
	}
	user := func(n string) flowcontrolv1.Subject {
		return flowcontrolv1.Subject{Kind: "User", User: &flowcontrolv1.UserSubject{Name: n}}
	}
	account := func(ns, n string) flowcontrolv1.Subject {
		return flowcontrolv1.Subject{Kind: "ServiceAccount", ServiceAccount: &flowcontrolv1.ServiceAccountSubject{Namespace: ns, Name: n}}
	}
	pods := flowcontrolv1.ResourcePolicyRule{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"pods", "pods/log"}, Namespaces: []string{"a"}}
	cluster := flowcontrolv1.ResourcePolicyRule{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}, ClusterScope: true}
	urls := flowcontrolv1.NonResourcePolicyRule{Verbs: []string{"get"}, NonResourceURLs: []string{"/healthz", "/debug/*"}}
	get := func(resource, sub, namespace string) apimachinery.Attributes {
		return apimachinery.Attributes{Verb: "get", Resource: resource, Sub: sub, Namespace: namespace}
	}
	path := func(p string) apimachinery.Attributes { return apimachinery.Attributes{Verb: "get", Path: p} }
	for name, x := range map[string]struct {
		who  flowcontrolv1.Subject
		a    apimachinery.Attributes
		want bool
	}{
		"by user":                  {user("u"), get("pods", "", "a"), true},
		"any user":                 {user("*"), get("pods", "", "a"), true},
		"by group":                 {group("g"), get("pods", "log", "a"), true},
		"any group":                {group("*"), get("pods", "", "a"), true},
		"another":                  {user("v"), get("pods", "", "a"), false},
		"no account":               {account("ns", "*"), get("pods", "", "a"), false},
		"another namespace":        {user("u"), get("pods", "", "b"), false},
		"another subresource":      {user("u"), get("pods", "exec", "a"), false},
		"cluster scope":            {user("u"), get("nodes", "", ""), true},
		"cluster scope, namespace": {user("u"), get("secrets", "", "b"), false},
		"path":                     {user("u"), path("/healthz"), true},
		"below a path":             {user("u"), path("/healthz/etcd"), true},
		"below a starred path":     {user("u"), path("/debug/x/y"), true},
		"a longer name":            {user("u"), path("/healthzz"), false},
		"another path":             {user("u"), path("/metrics"), false},
	} {
		x.a.User = apimachinery.User{Name: "u", Groups: []string{"g"}}
		f := &flowcontrolv1.FlowSchema{}
		f.Spec.Rules = []flowcontrolv1.PolicyRulesWithSubjects{{
			Subjects:      []flowcontrolv1.Subject{x.who},
			ResourceRules: []flowcontrolv1.ResourcePolicyRule{pods, cluster}, NonResourceRules: []flowcontrolv1.NonResourcePolicyRule{urls},
		}}
		require.Equal(t, x.want, matches(f, &x.a), name)
	}
	for name, want := range map[string]bool{
		"system:serviceaccount:ns:x": true, "system:serviceaccount:ns2:x": false, "system:serviceaccount:n:s:x": false, "ns:x": false,
	} {
		s := account("ns", "*")
		require.Equal(t, want, matchesSubject(&s, &apimachinery.User{Name: name}), name)
	}
	s := account("ns", "y")
	require.False(t, matchesSubject(&s, &apimachinery.User{Name: "system:serviceaccount:ns:x"}))
}
