package fairness

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/types"
)

// level is a priority level as it runs.
type level struct {
	name string

	mu        sync.Mutex
	uid       types.UID
	queues    queues
	limits    limits
	most      atomic.Int64 // seats of one request; read without mu
	target    float64
	quiescing bool // it is configured no more, but somebody is still there
	retries   retries
	timer     *time.Timer // set while seats that are held are waited for
	flows     map[string]*flow

	started, refused, timedOut, cancelled int64
}

// flow counts what a level has of one schema. Its counters are guarded by the level's lock.
type flow struct {
	schema string

	started, noRoom                       int64
	queueFull, levelFull, late, cancelled int64
	observe                               observers
}

func (l *level) flowOf(schema string, m *metrics) *flow {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.flows[schema]
	if f == nil {
		f = &flow{schema: schema, observe: m.observers(l.name, schema)}
		l.flows[schema] = f
	}
	return f
}

// shares are what a level's configuration says of its part of the seats; borrow is -1 where there is no bound.
func shares(p *flowcontrolv1.PriorityLevelConfiguration) (nominal float64, lendable, borrow int) {
	get := func(n *int32, or int) int {
		if n == nil {
			return or
		}
		return int(*n)
	}
	switch {
	case p.Spec.Type == flowcontrolv1.PriorityLevelEnablementExempt && p.Spec.Exempt != nil:
		return float64(get(p.Spec.Exempt.NominalConcurrencyShares, 0)), get(p.Spec.Exempt.LendablePercent, 0), -1
	case p.Spec.Limited != nil:
		l := p.Spec.Limited
		return float64(get(l.NominalConcurrencyShares, 30)), get(l.LendablePercent, 0), get(l.BorrowingLimitPercent, -1)
	}
	return 0, 0, -1
}

// mostSeats is the part of a level's seats that one request may have.
const mostSeats = 0.15

// configure takes a configuration in.
func (l *level) configure(now time.Duration, p *flowcontrolv1.PriorityLevelConfiguration, lim limits) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fresh := l.limits == (limits{})
	changed := l.limits != lim
	l.uid, l.limits, l.quiescing = p.UID, lim, false
	s := &l.queues
	s.advance(now)
	s.exempt = p.Spec.Type == flowcontrolv1.PriorityLevelEnablementExempt
	deck, hand, length := 0, 0, 0
	most := max(1, int(math.Ceil(mostSeats*float64(lim.nominal))))
	if p.Spec.Limited != nil && p.Spec.Limited.LimitResponse.Queuing != nil {
		q := p.Spec.Limited.LimitResponse.Queuing
		deck, hand, length = int(q.Queues), max(int(q.HandSize), 1), int(q.QueueLengthLimit)
		most = max(1, min(most, lim.nominal/hand))
	}
	l.most.Store(int64(most))
	s.shape(deck, hand, length)
	if fresh || changed {
		s.limit = lim.nominal - (lim.nominal-lim.lower)/2
	}
	l.settle(now, s.dispatch(now))
}

// settle follows a change of the queues: who was blocked is counted, and seats that are held are waited for. The
// caller holds mu.
func (l *level) settle(now time.Duration, blocked *item) {
	if blocked != nil {
		blocked.flow.noRoom++
	}
	at := l.queues.wakeAt()
	if at == 0 || l.timer != nil {
		return
	}
	l.timer = time.AfterFunc(max(at-now, 0), func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.timer = nil
		now := max(at, l.queues.last)
		l.settle(now, l.queues.dispatch(now))
	})
}
