package fairness

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bedplate/bedplate/apimachinery"
)

// Config configures a [Fairness]. The zero value works.
type Config struct {
	// Seats is how many requests of one seat may be under way at once, at all levels but the exempt one: 600.
	Seats int
	// Wait is the longest that a request without a deadline waits for its seats: 15 s. One with a deadline waits for a
	// quarter of the time until then.
	Wait time.Duration
	// Estimate bounds what requests are taken to cost.
	Estimate Estimate
	// Registerer takes the metrics, under Kubernetes' names. Nil: off.
	Registerer prometheus.Registerer
}

func (c *Config) validate() error {
	if c.Seats < 0 || c.Wait < 0 {
		return fmt.Errorf("negative seats (%d) or wait (%s)", c.Seats, c.Wait)
	}
	return c.Estimate.validate()
}

func (c Config) withDefaults() Config {
	if c.Seats == 0 {
		c.Seats = 600
	}
	if c.Wait == 0 {
		c.Wait = 15 * time.Second
	}
	c.Estimate = c.Estimate.withDefaults()
	return c
}

// Fairness lets requests in. Its methods may be called concurrently.
type Fairness struct {
	c       Config
	begun   time.Time
	seed    maphash.Seed
	metrics *metrics
	watches watches
	plan    atomic.Pointer[plan]

	mu       sync.Mutex // of what changes the plan
	levels   map[string]*level
	sum      int // of the nominal seats
	fraction float64
}

// plan is a configuration in use. It never changes.
type plan struct {
	schemas  []*planned
	fallback *planned
}

// planned is a schema with its level.
type planned struct {
	schema *flowcontrolv1.FlowSchema
	level  *level
	uid    types.UID // of the level
	flow   *flow
}

// Request is one that asks to be let in.
type Request struct {
	*apimachinery.Attributes
	// Work is what it is taken to cost, if that depends on how much there is; nil: one seat. It is told how many seats a
	// request of its level may have, and called once.
	Work func(most int) Work
	// Received is when it came. Zero: now.
	Received time.Time
}

// Place is what a request has that was let in, or what is known of one that was not.
type Place struct {
	// Schema and Level are the UIDs of the FlowSchema and PriorityLevelConfiguration that the request belongs to.
	Schema, Level types.UID

	f    *Fairness
	l    *level
	item item
	done atomic.Bool
}

// New makes a Fairness that knows the mandatory schemas and levels, and starts nothing.
func New(c Config) (*Fairness, error) {
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("configure priority and fairness: %w", err)
	}
	f := &Fairness{c: c.withDefaults(), begun: time.Now(), seed: maphash.MakeSeed(), levels: map[string]*level{}}
	f.metrics = newMetrics(c.Registerer != nil)
	f.watches.of = map[watched]int{}
	f.Configure(nil, nil)
	if c.Registerer != nil {
		if err := errors.Join(f.metrics.register(c.Registerer), c.Registerer.Register(collector{f})); err != nil {
			return nil, fmt.Errorf("configure priority and fairness: register metrics: %w", err)
		}
	}
	return f, nil
}

// now is the time since the start, which never goes back.
func (f *Fairness) now() time.Duration { return time.Since(f.begun) }

// Configure replaces the configuration by the objects that there are. The mandatory ones are made up where they are
// missing, and schemas whose level is missing are passed over. The objects must not be changed afterwards. Requests
// under way stay where they are.
func (f *Fairness) Configure(levels []*flowcontrolv1.PriorityLevelConfiguration, schemas []*flowcontrolv1.FlowSchema) {
	f.mu.Lock()
	defer f.mu.Unlock()
	levels, schemas = withMandatory(levels, schemas)
	sum := 0.0
	for _, p := range levels {
		n, _, _ := shares(p)
		sum += n
	}
	known := map[string]bool{}
	f.sum = 0
	for _, p := range levels {
		l := f.levels[p.Name]
		if l == nil {
			l = &level{name: p.Name, flows: map[string]*flow{}}
			f.levels[p.Name] = l
		}
		n, lendable, borrow := shares(p)
		lim := limitsOf(f.c.Seats, n, sum, lendable, borrow)
		f.sum += lim.nominal
		l.configure(f.now(), p, lim)
		known[p.Name] = true
	}
	f.plan.Store(f.planOf(schemas, known))
	for name, l := range f.levels {
		if !known[name] {
			l.mu.Lock()
			l.quiescing = true
			l.mu.Unlock()
		}
	}
	f.drop()
	f.adjust(false)
}

func (f *Fairness) planOf(schemas []*flowcontrolv1.FlowSchema, known map[string]bool) *plan {
	p := &plan{}
	slices.SortFunc(schemas, byPrecedence)
	for _, s := range schemas {
		name := s.Spec.PriorityLevelConfiguration.Name
		if !known[name] {
			continue
		}
		l := f.levels[name]
		one := &planned{schema: s, level: l, uid: l.uid, flow: l.flowOf(s.Name, f.metrics)}
		p.schemas = append(p.schemas, one)
		if s.Name == flowcontrolv1.FlowSchemaNameCatchAll {
			p.fallback = one
		}
	}
	return p
}

// drop forgets levels that are configured no more and have nobody left. The caller holds mu.
func (f *Fairness) drop() {
	maps.DeleteFunc(f.levels, func(_ string, l *level) bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.queues.advance(f.now())
		return l.quiescing && l.queues.idle()
	})
}

// find returns the schema that a request belongs to.
func (p *plan) find(a *apimachinery.Attributes) *planned {
	for _, s := range p.schemas {
		if matches(s.schema, a) {
			return s
		}
	}
	return p.fallback
}

// Enter lets a request in, waiting for its seats as long as its level allows. The Place is there with an error, too: it
// tells what the request belongs to. Without an error the caller calls [Place.Leave] when the request is done.
//
// The error is an apierrors.APIStatus, TooManyRequests with the seconds after which to come back, or the context's.
func (f *Fairness) Enter(ctx context.Context, r *Request) (*Place, error) {
	s := f.plan.Load().find(r.Attributes)
	l := s.level
	p := &Place{Schema: s.schema.UID, Level: s.uid, f: f, l: l}
	p.item = item{flow: s.flow, Work: Work{Seats: 1}, what: r}
	if r.Work != nil {
		p.item.Work = r.Work(int(l.most.Load()))
		p.item.Seats = max(p.item.Seats, 1)
	}
	s.flow.observe.estimated(p.item.width())
	by := distinguisher(s.schema, r.Attributes)
	var h maphash.Hash
	h.SetSeed(f.seed)
	_, _ = h.WriteString(s.schema.Name)
	_ = h.WriteByte(0)
	_, _ = h.WriteString(by)
	hash := h.Sum64()

	l.mu.Lock()
	now := max(f.now(), l.queues.last)
	v := l.queues.arrive(now, &p.item, hash)
	switch v {
	case starts:
		l.started++
		s.flow.started++
		l.mu.Unlock()
		s.flow.observe.waited(0, true)
		return p, nil
	case waits:
		p.item.start = make(chan struct{})
		length := len(p.item.queue.waiting)
		l.settle(now, &p.item)
		l.mu.Unlock()
		s.flow.observe.queued(length)
		return p, f.wait(ctx, p, r)
	case queueFull:
		s.flow.queueFull++
	case levelFull:
		s.flow.levelFull++
	}
	err := l.refuse()
	l.mu.Unlock()
	return p, err
}

// refuse counts a refusal and says when to come back. The caller holds mu.
func (l *level) refuse() error {
	l.refused++
	after := l.retries.refused(time.Now().Unix())
	return apierrors.NewTooManyRequests("too many requests, please try again later", int(after))
}

// wait waits for a request's turn.
func (f *Fairness) wait(ctx context.Context, p *Place, r *Request) error {
	d := f.c.Wait
	received := r.Received
	if received.IsZero() {
		received = time.Now()
	}
	if deadline, ok := ctx.Deadline(); ok {
		d = deadline.Sub(received) / 4
	}
	t := time.NewTimer(time.Until(received.Add(d)))
	defer t.Stop()
	late := false
	select {
	case <-p.item.start:
	case <-t.C:
		late = true
	case <-ctx.Done():
	}
	l := p.l
	l.mu.Lock()
	defer l.mu.Unlock()
	now := max(f.now(), l.queues.last)
	waited := now - p.item.arrived
	if !l.queues.leave(now, &p.item) { // its turn has come
		l.started++
		p.item.flow.started++
		p.item.flow.observe.waited(p.item.started-p.item.arrived, true)
		return nil
	}
	l.settle(now, nil)
	p.item.flow.observe.waited(waited, false)
	if late {
		l.timedOut++
		p.item.flow.late++
		return l.refuse()
	}
	l.cancelled++
	p.item.flow.cancelled++
	return ctx.Err()
}

// Leave gives a request's seats back. It may be called more than once, and on nil.
func (p *Place) Leave() {
	if p == nil || p.done.Swap(true) {
		return
	}
	l := p.l
	l.mu.Lock()
	now := max(p.f.now(), l.queues.last)
	l.settle(now, l.queues.finish(now, &p.item))
	took := now - p.item.started
	l.mu.Unlock()
	p.item.flow.observe.executed(took, p.item.what.Verb)
	p.item.what = nil
}

// Period is the time between two calls of [Fairness.Adjust].
const Period = 10 * time.Second

// Adjust moves seats between levels by what each has wanted since the last time. It is to be called every [Period].
func (f *Fairness) Adjust() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.drop()
	f.adjust(true)
}

// adjust works the limits of all levels out anew. The caller holds mu.
func (f *Fairness) adjust(period bool) {
	left, lowest, least := float64(f.sum), 0.0, 0.0
	var some []*level
	var wants []want
	for _, name := range slices.Sorted(maps.Keys(f.levels)) {
		l := f.levels[name]
		l.mu.Lock()
		if period {
			l.queues.period(max(f.now(), l.queues.last))
		}
		d := &l.queues.demand
		switch {
		case l.quiescing:
		case l.queues.exempt:
			l.queues.limit = max(l.limits.lower, int(d.watermark))
			l.target = float64(l.queues.limit)
			left -= l.target
		default:
			need := max(float64(l.limits.lower), min(float64(l.limits.nominal), d.watermark))
			lowest, least = lowest+float64(l.limits.lower), least+need
			w := want{lower: need, upper: float64(max(l.limits.upper, l.limits.lower)), target: max(need, d.smoothed)}
			l.target = w.target
			some, wants = append(some, l), append(wants, w)
		}
		l.mu.Unlock()
	}
	if !period {
		return
	}
	seats := f.seatsOf(left, lowest, least, some, wants)
	for i, l := range some {
		l.mu.Lock()
		l.queues.limit = seats[i]
		now := max(f.now(), l.queues.last)
		l.settle(now, l.queues.dispatch(now))
		l.mu.Unlock()
	}
}

// seatsOf divides the seats that the exempt levels leave.
func (f *Fairness) seatsOf(left, lowest, least float64, some []*level, wants []want) []int {
	out := make([]int, len(some))
	f.fraction = 0
	var fair []float64
	if left > least {
		fair, f.fraction = divide(float64(f.sum), wants)
	}
	for i, l := range some {
		switch lower := float64(l.limits.lower); {
		case left <= lowest:
			out[i] = l.limits.lower
		case left <= least:
			out[i] = l.limits.lower + int((wants[i].lower-lower)*(left-lowest)/(least-lowest)+0.5)
		default:
			out[i] = int(fair[i] + 0.5)
		}
	}
	return out
}
