package storetest

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bedplate/bedplate/storage"
)

var lockTests = []test{
	{"Lock", testLock},
	{"Names", testLockNames},
	{"Fairness", testLockFairness},
	{"NoHerd", testLockNoHerd},
	{"Contenders", testLockContenders},
	{"Cancel", testLockCancel},
	{"CancelInTheMiddle", testLockCancelMiddle},
	{"Lost", testLockLost},
	{"KeptAlive", testLockKeptAlive},
	{"Expired", testLockExpired},
	{"WaiterLosesItsPlace", testLockWaiterLost},
	{"FencedCounter", testFencedCounter},
}

const lockPrefix = "/registry/locks/"

// locks opens locks that are long enough not to end in a test by themselves.
func (e *env) locks(db *storage.DB, c storage.LocksConfig) *storage.Locks {
	e.Helper()
	if c.TTL == 0 {
		c.TTL = 2 * limit
	}
	l, err := storage.NewLocks(db, c)
	e.NoError(err)
	return l
}

func (e *env) acquire(l *storage.Locks, name string) *storage.Lock {
	e.Helper()
	k, err := l.Acquire(e.ctx, name)
	e.NoError(err)
	return k
}

// queued waits until so many hold or wait for locks.
func (e *env) queued(l *storage.Locks, n int) {
	e.Helper()
	for {
		s, err := l.Table().Snapshot(e.ctx, 0, false)
		e.NoError(err)
		if s.Len() == n {
			return
		}
		w := e.watch(l.Table(), s.Rev(), storage.Filter{})
		_, err = w.Next(e.ctx)
		e.NoError(err)
	}
}

// leaseOf returns the lease of a lock's key, which is what it ends with.
func leaseOf(key string) (int64, error) {
	return strconv.ParseInt(key[strings.LastIndex(key, "/")+1:], 16, 64)
}

// revoke ends the lease of a lock's key.
func (e *env) revoke(key string) error {
	id, err := leaseOf(key)
	if err != nil {
		return err
	}
	return e.b.(storage.Leaser).Revoke(e.ctx, id)
}

func (e *env) fenced(db *storage.DB, f storage.Cond) error {
	_, err := db.Commit(e.ctx, storage.Write{Key: "/fenced", Value: []byte("1"), At: storage.AnyRev, If: []storage.Cond{f}})
	return err
}

func (e *env) closed(c <-chan struct{}, what string) {
	e.Helper()
	select {
	case <-c:
	case <-e.ctx.Done():
		e.FailNow(what)
	}
}

func (e *env) open(c <-chan struct{}) {
	e.Helper()
	select {
	case <-c:
		e.FailNow("lost")
	default:
	}
}

func testLock(e *env) {
	if _, ok := e.leaser(); !ok {
		return
	}
	db := e.db(storage.Config{})
	l := e.locks(db, storage.LocksConfig{Holder: "me"})
	_, err := storage.NewLocks(db, storage.LocksConfig{})
	e.Error(err, "the prefix is taken")
	_, err = l.Acquire(e.ctx, "")
	e.Error(err)
	first := e.acquire(l, "a")
	e.Equal("a", first.Name())
	e.open(first.Lost())
	e.NoError(e.fenced(db, first.Fence()))
	_, err = l.TryAcquire(e.ctx, "a")
	e.ErrorIs(err, storage.ErrLocked)
	s, err := l.Table().Snapshot(e.ctx, 0, false)
	e.NoError(err)
	e.Equal(1, s.Len())
	held, ok := s.Get(strings.TrimPrefix(first.Fence().Key, lockPrefix))
	e.True(ok)
	e.Equal("me", string(held.Raw))
	e.Equal(first.Fence().Rev, held.Rev)

	e.NoError(first.Release(e.ctx))
	e.closed(first.Lost(), "not lost when released")
	e.NoError(first.Release(e.ctx), "again")
	e.Empty(e.stored(lockPrefix))
	e.ErrorIs(e.fenced(db, first.Fence()), storage.ErrConflict)
	second, err := l.TryAcquire(e.ctx, "a")
	e.NoError(err)
	e.NotEqual(first.Fence(), second.Fence())
	e.NoError(e.fenced(db, second.Fence()))
	e.ErrorIs(e.fenced(db, first.Fence()), storage.ErrConflict, "a fence never holds again")
	e.NoError(second.Release(e.ctx))
}

func testLockNames(e *env) {
	if _, ok := e.leaser(); !ok {
		return
	}
	l := e.locks(e.db(storage.Config{}), storage.LocksConfig{})
	var held []*storage.Lock
	for _, name := range []string{"a", "a/", "a/b", "a%2Fb", "ab", "/", "ä b", ".."} {
		held = append(held, e.acquire(l, name))
	}
	for _, k := range held {
		e.NoError(k.Release(e.ctx))
	}
}

func testLockFairness(e *env) {
	if _, ok := e.leaser(); !ok {
		return
	}
	const n = 8
	here, there := e.locks(e.db(storage.Config{}), storage.LocksConfig{}), e.locks(e.db(storage.Config{}), storage.LocksConfig{})
	first := e.acquire(here, "x")
	var mu sync.Mutex
	var got, want []int
	var wg sync.WaitGroup
	for i := range n {
		want = append(want, i)
		wg.Go(func() {
			k, err := []*storage.Locks{here, there}[i%2].Acquire(e.ctx, "x")
			if err != nil {
				e.T.Errorf("acquire: %v", err)
				return
			}
			mu.Lock()
			got = append(got, i)
			mu.Unlock()
			if err := k.Release(e.ctx); err != nil {
				e.T.Errorf("release: %v", err)
			}
		})
		e.queued(here, i+2)
	}
	e.Empty(got)
	e.NoError(first.Release(e.ctx))
	wg.Wait()
	e.Equal(want, got, "first come, first served")
	e.Empty(e.stored(lockPrefix))
}

// machine is a store as one process sees it. It can be paused, as processes are, and counts.
type machine struct {
	storage.Backend
	storage.Leaser
	calls atomic.Int64 // other than for leases

	mu   sync.Mutex
	gate chan struct{} // not nil: paused
}

func (e *env) machine() *machine {
	return &machine{Backend: e.b, Leaser: e.b.(storage.Leaser)}
}

func (m *machine) pause() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gate = make(chan struct{})
}

func (m *machine) resume() {
	m.mu.Lock()
	defer m.mu.Unlock()
	close(m.gate)
	m.gate = nil
}

func (m *machine) pass(ctx context.Context) error {
	m.mu.Lock()
	gate := m.gate
	m.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}

// KeepAlive implements storage.Leaser.
func (m *machine) KeepAlive(ctx context.Context, lease int64) (time.Duration, error) {
	if err := m.pass(ctx); err != nil {
		return 0, err
	}
	return m.Leaser.KeepAlive(ctx, lease)
}

// Commit implements storage.Backend.
func (m *machine) Commit(ctx context.Context, t storage.Txn) (int64, error) {
	m.calls.Add(1)
	if err := m.pass(ctx); err != nil {
		return 0, err
	}
	return m.Backend.Commit(ctx, t)
}

// Range implements storage.Backend.
func (m *machine) Range(ctx context.Context, r storage.Range) (storage.Page, error) {
	m.calls.Add(1)
	return m.Backend.Range(ctx, r)
}

// Revision implements storage.Backend.
func (m *machine) Revision(ctx context.Context) (int64, error) {
	m.calls.Add(1)
	return m.Backend.Revision(ctx)
}

// testLockNoHerd hands a lock over among many waiters: it costs the store what a release costs, and nothing
// more.
func testLockNoHerd(e *env) {
	if _, ok := e.leaser(); !ok {
		return
	}
	const n = 40
	m := e.machine()
	l := e.locks(e.dbOn(m, storage.Config{}), storage.LocksConfig{})
	k := e.acquire(l, "x")
	ctx, cancel := context.WithCancel(e.ctx)
	got := make(chan *storage.Lock, n) // at the end some may get it, and lose it, with their context
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			if k, err := l.Acquire(ctx, "x"); err == nil {
				got <- k
			}
		})
	}
	e.queued(l, n+1)
	before := m.calls.Load()
	for range 5 {
		e.NoError(k.Release(e.ctx))
		k = <-got
	}
	e.Equal(before, m.calls.Load())
	cancel()
	wg.Wait()
	e.NoError(k.Release(e.ctx))
	e.Empty(e.stored(lockPrefix))
}

// testLockContenders has many goroutines change what only the lock guards; none of them is ever paused.
func testLockContenders(e *env) {
	if _, ok := e.leaser(); !ok {
		return
	}
	const n, rounds = 24, 3
	all := []*storage.Locks{
		e.locks(e.db(storage.Config{}), storage.LocksConfig{}), e.locks(e.db(storage.Config{}), storage.LocksConfig{}),
	}
	sum := 0
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			for r := range rounds {
				k, err := all[(i+r)%2].Acquire(e.ctx, "x")
				if err != nil {
					e.T.Errorf("acquire: %v", err)
					return
				}
				sum++
				if err := k.Release(e.ctx); err != nil {
					e.T.Errorf("release: %v", err)
				}
			}
		})
	}
	wg.Wait()
	e.Equal(n*rounds, sum)
	got := make(chan *storage.Lock, n)
	for i := range n {
		wg.Go(func() {
			if k, err := all[i%2].TryAcquire(e.ctx, "y"); err == nil {
				got <- k
			}
		})
	}
	wg.Wait()
	close(got)
	e.LessOrEqual(len(got), 1)
	for k := range got {
		e.NoError(k.Release(e.ctx))
	}
	e.Empty(e.stored(lockPrefix))
}

func testLockCancel(e *env) {
	if _, ok := e.leaser(); !ok {
		return
	}
	db := e.db(storage.Config{})
	l := e.locks(db, storage.LocksConfig{})
	short := e.locks(db, storage.LocksConfig{Prefix: "/registry/short/", Wait: 500 * time.Millisecond})
	k := e.acquire(l, "x")
	ctx, cancel := context.WithCancel(e.ctx)
	ended := make(chan error, 1)
	go func() {
		_, err := l.Acquire(ctx, "x")
		ended <- err
	}()
	e.queued(l, 2)
	cancel()
	e.ErrorIs(<-ended, context.Canceled)
	e.Equal(k.Fence().Key, e.stored(lockPrefix), "who gave up left nothing")
	e.NoError(k.Release(ctx), "an ended context does not keep it from being released")
	e.Empty(e.stored(lockPrefix))

	k = e.acquire(short, "x")
	_, err := short.Acquire(e.ctx, "x")
	e.ErrorIs(err, storage.ErrLocked)
	e.Equal(k.Fence().Key, e.stored("/registry/short/"))
	e.NoError(k.Release(e.ctx))
}

// testLockCancelMiddle takes the waiter away for whom another waits: that one waits on.
func testLockCancelMiddle(e *env) {
	if _, ok := e.leaser(); !ok {
		return
	}
	l := e.locks(e.db(storage.Config{}), storage.LocksConfig{})
	k := e.acquire(l, "x")
	ctx, cancel := context.WithCancel(e.ctx)
	middle, last := make(chan error, 1), make(chan *storage.Lock, 1)
	go func() {
		_, err := l.Acquire(ctx, "x")
		middle <- err
	}()
	e.queued(l, 2)
	released := atomic.Bool{}
	go func() {
		k, err := l.Acquire(e.ctx, "x")
		if err != nil || !released.Load() {
			e.T.Errorf("acquired while another held it, or not at all: %v", err)
		}
		last <- k
	}()
	e.queued(l, 3)
	cancel()
	e.ErrorIs(<-middle, context.Canceled)
	e.queued(l, 2)
	released.Store(true)
	e.NoError(k.Release(e.ctx))
	e.NoError((<-last).Release(e.ctx))
}

// testLockLost takes a lock away in all ways but time.
func testLockLost(e *env) {
	if _, ok := e.leaser(); !ok {
		return
	}
	db := e.db(storage.Config{})
	l := e.locks(db, storage.LocksConfig{})
	for what, take := range map[string]func(*storage.Lock){
		"revoked": func(k *storage.Lock) { e.NoError(e.revoke(k.Fence().Key)) },
		"deleted": func(k *storage.Lock) { e.del(k.Fence().Key) },
		"changed": func(k *storage.Lock) { e.put(k.Fence().Key, "by hand") },
	} {
		k := e.acquire(l, "x")
		take(k)
		e.closed(k.Lost(), what+": not told that the lock is lost")
		e.ErrorIs(e.fenced(db, k.Fence()), storage.ErrConflict, what)
		e.ErrorIs(k.Release(e.ctx), storage.ErrLockLost, what)
		e.ErrorIs(k.Release(e.ctx), storage.ErrLockLost, what)
		e.stored(lockPrefix)
		e.raw(storage.Txn{Then: []storage.Op{{Key: k.Fence().Key}}}) // one that was changed has no lease
	}
	ctx, cancel := context.WithCancel(e.ctx)
	k, err := l.Acquire(ctx, "x")
	e.NoError(err)
	cancel()
	e.closed(k.Lost(), "not lost with the context")
	next := e.acquire(l, "x")
	e.NoError(k.Release(e.ctx))
	e.NoError(next.Release(e.ctx))
	e.Empty(e.stored(lockPrefix))
}

// testLockKeptAlive holds a lock for longer than its TTL: until a lease that is twice as long has ended.
func testLockKeptAlive(e *env) {
	if _, ok := e.leaser(); !ok {
		return
	}
	db := e.db(storage.Config{})
	k := e.acquire(e.locks(db, storage.LocksConfig{TTL: time.Second}), "x")
	rev := e.with(e.grant(2*time.Second).ID, "/control")
	e.Nil(e.batches("/control", rev, 1)[0].Events[0].Value)
	e.open(k.Lost())
	e.NoError(e.fenced(db, k.Fence()))
	e.NoError(k.Release(e.ctx))
}

// testLockExpired pauses a holder until the next one has the lock.
func testLockExpired(e *env) {
	if _, ok := e.leaser(); !ok {
		return
	}
	m := e.machine()
	db := e.dbOn(m, storage.Config{})
	k := e.acquire(e.locks(db, storage.LocksConfig{TTL: time.Second}), "x")
	m.pause()
	next := e.acquire(e.locks(e.db(storage.Config{}), storage.LocksConfig{}), "x")
	e.closed(k.Lost(), "not told that the lock is lost")
	m.resume()
	var conflict *storage.ConflictError
	e.ErrorAs(e.fenced(db, k.Fence()), &conflict)
	e.Equal(&storage.ConflictError{Key: k.Fence().Key, Want: k.Fence().Rev}, conflict)
	e.NoError(e.fenced(db, next.Fence()))
	e.ErrorIs(k.Release(e.ctx), storage.ErrLockLost)
	e.NoError(next.Release(e.ctx))
}

// testLockWaiterLost takes a waiter's place away: it gets another one, behind those who came meanwhile.
func testLockWaiterLost(e *env) {
	if _, ok := e.leaser(); !ok {
		return
	}
	l := e.locks(e.db(storage.Config{}), storage.LocksConfig{})
	k := e.acquire(l, "x")
	order := make(chan string, 2)
	var wg sync.WaitGroup
	for i, name := range []string{"unlucky", "lucky"} {
		wg.Go(func() {
			k, err := l.Acquire(e.ctx, "x")
			if err != nil {
				e.T.Errorf("acquire: %v", err)
				return
			}
			order <- name
			if err := k.Release(e.ctx); err != nil {
				e.T.Errorf("release: %v", err)
			}
		})
		e.queued(l, i+2)
	}
	page, err := e.b.Range(e.ctx, storage.Range{Prefix: lockPrefix})
	e.NoError(err)
	oldest := page.KVs[0]
	for _, kv := range page.KVs {
		if kv.Key != k.Fence().Key && (oldest.Key == k.Fence().Key || kv.Created < oldest.Created) {
			oldest = kv
		}
	}
	e.NoError(e.revoke(oldest.Key))
	e.batches(lockPrefix, page.Rev, 2) // the key goes, another comes
	e.NoError(k.Release(e.ctx))
	wg.Wait()
	e.Equal("lucky", <-order)
	e.Equal("unlucky", <-order)
	e.Empty(e.stored(lockPrefix))
}
