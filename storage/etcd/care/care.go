package care

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/bedplate/bedplate/storage"
)

// maxBacklog is how many entries a member may be behind in applying to count as well.
const maxBacklog = 5_000

// requestTimeout bounds every request but defragmentation.
const requestTimeout = 10 * time.Second

// nearly is the part of the quota from which on the log is told.
const nearly = 0.8

// Keeper keeps one etcd well.
type Keeper struct {
	c       Config
	log     *slog.Logger
	m       *keeperMetrics
	p       *policy
	turn    *turn
	started atomic.Bool
	warned  bool // of the quota
}

// New checks the configuration and registers metrics; it starts nothing.
func New(c Config) (*Keeper, error) {
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("configure care of etcd: %w", err)
	}
	c = c.withDefaults()
	m, err := newKeeperMetrics(c.Registerer)
	if err != nil {
		return nil, fmt.Errorf("configure care of etcd: %w", err)
	}
	return &Keeper{c: c, log: c.Log, m: m, p: newPolicy(c), turn: newTurn(c.Backend, c.Prefix, c.Interval)}, nil
}

// Run looks after the etcd until ctx ends, and then returns nil. What goes wrong is logged and tried again at
// the next look: an etcd that is away for a while is no reason to end. It is an error to run it twice. A
// defragmentation that is under way is etcd's to finish.
func (k *Keeper) Run(ctx context.Context) error {
	if !k.started.CompareAndSwap(false, true) {
		return errors.New("run care of etcd: it was run before")
	}
	defer k.turn.leave(ctx)
	tick := time.NewTicker(k.c.Interval)
	defer tick.Stop()
	for {
		k.round(ctx)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// round looks and acts until there is nothing to do.
func (k *Keeper) round(ctx context.Context) {
	if err := bounded(ctx, k.turn.draw); err != nil && !errors.Is(err, storage.ErrNoSpace) {
		k.warn(ctx, "etcd care: no ticket", err)
	}
	for range 4*len(k.c.Endpoints) + 4 {
		v, err := k.look(ctx)
		if err != nil {
			k.warn(ctx, "etcd care: the store was not seen", err)
			return
		}
		if !k.act(ctx, k.p.decide(v), v) {
			return
		}
	}
}

func bounded(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return f(ctx)
}

func (k *Keeper) warn(ctx context.Context, message string, err error, args ...any) {
	if ctx.Err() == nil && !errors.Is(err, storage.ErrClosed) {
		k.log.Warn(message, append(args, "err", err)...)
	}
}

// look asks all members at once, as one that hangs must not hide the others.
func (k *Keeper) look(ctx context.Context) (view, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	seen := make([]member, len(k.c.Endpoints))
	var wg sync.WaitGroup
	for i, endpoint := range k.c.Endpoints {
		wg.Go(func() { seen[i] = k.status(ctx, endpoint) })
	}
	v := view{}
	var err error
	wg.Go(func() { v.rev, err = k.c.Backend.Revision(ctx) })
	alarms, alarmErr := k.c.Maintenance.AlarmList(ctx)
	wg.Wait()
	if err := errors.Join(err, alarmErr); err != nil {
		return view{}, err
	}
	for _, a := range alarms.Alarms {
		if a.Alarm == etcdserverpb.AlarmType_NOSPACE {
			v.alarms = append(v.alarms, a.MemberID)
		}
	}
	v.members = distinct(seen)
	if k.c.Healthy != nil {
		v.unwell = k.c.Healthy(ctx)
	}
	v.now = time.Now()
	k.tell(v)
	return v, nil
}

func (k *Keeper) status(ctx context.Context, endpoint string) member {
	m := member{endpoint: endpoint, quota: k.c.Quota}
	s, err := k.c.Maintenance.Status(ctx, endpoint)
	if err != nil {
		m.err = err
		return m
	}
	m.id, m.leader = s.Header.GetMemberId(), s.Leader == s.Header.GetMemberId()
	m.size, m.inUse = s.DbSize, s.DbSizeInUse
	if s.DbSizeQuota > 0 {
		m.quota = s.DbSizeQuota
	}
	switch {
	case s.Leader == 0:
		m.err = errors.New("it knows no leader")
	case s.RaftIndex > s.RaftAppliedIndex+maxBacklog:
		m.err = fmt.Errorf("it has %d entries to apply", s.RaftIndex-s.RaftAppliedIndex)
	}
	return m
}

// distinct drops the members that several endpoints lead to but for once.
func distinct(seen []member) []member {
	known := map[uint64]bool{}
	var out []member
	for _, m := range seen {
		if m.id == 0 || !known[m.id] {
			out = append(out, m)
		}
		known[m.id] = true
	}
	return out
}

// tell tells metrics and the log of sizes.
func (k *Keeper) tell(v view) {
	near := v.full()
	var size int64
	for _, m := range v.members {
		size = max(size, m.size)
		near = near || m.err == nil && float64(m.size) >= nearly*float64(m.quota)
	}
	k.m.size.Set(float64(size))
	if near && !k.warned {
		k.log.Warn("etcd care: the store is nearly full, or full", "bytes", size, "alarms", len(v.alarms))
	}
	k.warned = near
}

// act does one thing and says whether to look again at once.
func (k *Keeper) act(ctx context.Context, a action, v view) bool {
	if a.kind == nothing {
		k.rest(ctx, v)
		return false
	}
	if a.kind == defragment && !k.myTurn(ctx, v) {
		return false
	}
	begin := time.Now()
	err := k.do(ctx, a)
	if err == nil || a.kind == defragment {
		k.p.did(a, time.Now())
	}
	k.m.count(a.kind, err, time.Since(begin))
	if err != nil {
		k.warn(ctx, "etcd care: "+a.kind.String(), err, "endpoint", a.member.endpoint)
		return a.kind == defragment && ctx.Err() == nil
	}
	k.log.Info("etcd care: "+a.kind.String(), "endpoint", a.member.endpoint, "revision", a.rev, "free", a.member.free(),
		"took", time.Since(begin))
	return true
}

// rest is what is done when there is nothing to do.
func (k *Keeper) rest(ctx context.Context, v view) {
	err := error(nil)
	switch {
	case !v.full():
		err = bounded(ctx, k.turn.pass)
	case k.p.finished(v):
		err = bounded(ctx, k.turn.tear)
	}
	if err != nil {
		k.warn(ctx, "etcd care: the ticket was not passed on", err)
	}
}

func (k *Keeper) myTurn(ctx context.Context, v view) bool {
	mine := false
	err := bounded(ctx, func(ctx context.Context) (err error) {
		mine, err = k.turn.mine(ctx, v.full())
		return err
	})
	if err != nil {
		k.warn(ctx, "etcd care: the queue was not seen", err)
	}
	return mine && err == nil
}

func (k *Keeper) do(ctx context.Context, a action) error {
	switch a.kind {
	case compact:
		return bounded(ctx, func(ctx context.Context) error {
			err := k.c.Backend.(Compacter).Compact(ctx, a.rev) // validate has seen that it is one
			if errors.Is(err, storage.ErrTooOld) {
				return nil // somebody else did
			}
			return err
		})
	case lift:
		return bounded(ctx, func(ctx context.Context) error {
			_, err := k.c.Maintenance.AlarmDisarm(ctx, &clientv3.AlarmMember{
				MemberID: a.member.id, Alarm: etcdserverpb.AlarmType_NOSPACE,
			})
			return err
		})
	case defragment:
		return k.defragment(ctx, a.member)
	}
	return nil
}

// defragment keeps the ticket alive meanwhile.
func (k *Keeper) defragment(ctx context.Context, m member) error {
	ctx, cancel := context.WithTimeout(ctx, k.c.Timeout)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	lease := k.turn.lease
	wg.Go(func() {
		tick := time.NewTicker(k.turn.ttl / 4)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				_ = k.turn.alive(ctx, lease) // tried again soon, and seen when the ticket is next used
			case <-ctx.Done():
				return
			}
		}
	})
	_, err := k.c.Maintenance.Defragment(ctx, m.endpoint)
	return err
}
