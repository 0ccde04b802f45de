package care_test

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"

	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/etcd/care"
	"github.com/bedplate/bedplate/storage/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const mib = 1 << 20

func inMemory(t testing.TB) *memory.Backend {
	t.Helper()
	b, err := memory.New(memory.Config{})
	require.NoError(t, err)
	return b
}

// cluster is the sizes and alarms of some members. It is proof of the order of what is done to them.
type cluster struct {
	mu     sync.Mutex
	size   map[string]int64
	inUse  map[string]int64
	full   map[string]bool
	broken map[string]error
	busy   int
	most   int // defragmentations at once
	done   []string
}

const quota = 1000 * mib

func newCluster(n int, size, inUse int64) *cluster {
	c := &cluster{size: map[string]int64{}, inUse: map[string]int64{}, full: map[string]bool{}, broken: map[string]error{}}
	for i := range n {
		id := strconv.Itoa(i + 1)
		c.size[id], c.inUse[id] = size*mib, inUse*mib
	}
	return c
}

func (c *cluster) endpoints() []string {
	var all []string
	for id := range c.size {
		all = append(all, id)
	}
	slices.Sort(all)
	return all
}

// Status tells of a member; 1 leads.
func (c *cluster) Status(_ context.Context, endpoint string) (*clientv3.StatusResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.broken[endpoint]; err != nil {
		return nil, err
	}
	id, _ := strconv.ParseUint(endpoint, 10, 64)
	return &clientv3.StatusResponse{
		Header: &etcdserverpb.ResponseHeader{MemberId: id}, Leader: 1,
		DbSize: c.size[endpoint], DbSizeInUse: c.inUse[endpoint], DbSizeQuota: quota,
	}, nil
}

// Defragment takes its time.
func (c *cluster) Defragment(ctx context.Context, endpoint string) (*clientv3.DefragmentResponse, error) {
	c.mu.Lock()
	c.busy++
	c.most = max(c.most, c.busy)
	c.mu.Unlock()
	select {
	case <-time.After(30 * time.Second):
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy--
	c.done = append(c.done, endpoint)
	c.size[endpoint] = c.inUse[endpoint]
	return &clientv3.DefragmentResponse{}, ctx.Err()
}

func (c *cluster) AlarmList(context.Context) (*clientv3.AlarmResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := &clientv3.AlarmResponse{}
	for endpoint := range c.full {
		id, _ := strconv.ParseUint(endpoint, 10, 64)
		r.Alarms = append(r.Alarms, &etcdserverpb.AlarmMember{MemberID: id, Alarm: etcdserverpb.AlarmType_NOSPACE})
	}
	return r, nil
}

func (c *cluster) AlarmDisarm(_ context.Context, a *clientv3.AlarmMember) (*clientv3.AlarmResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.full, strconv.FormatUint(a.MemberID, 10))
	return &clientv3.AlarmResponse{}, nil
}

// order is the members in the order in which they were defragmented.
func (c *cluster) order() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.done)
}

func (c *cluster) isFull() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.full) > 0
}

// store is a store in memory that refuses what a full etcd refuses.
type store struct {
	*memory.Backend
	c *cluster
}

func (s store) Commit(ctx context.Context, t storage.Txn) (int64, error) {
	if s.c.isFull() && slices.ContainsFunc(t.Then, func(o storage.Op) bool { return o.Value != nil }) {
		return 0, storage.ErrNoSpace
	}
	return s.Backend.Commit(ctx, t)
}

func (s store) Grant(ctx context.Context, ttl time.Duration) (storage.Lease, error) {
	if s.c.isFull() {
		return storage.Lease{}, storage.ErrNoSpace
	}
	return s.Backend.Grant(ctx, ttl)
}

func keep(t *testing.T, ctx context.Context, wg *sync.WaitGroup, c care.Config) {
	t.Helper()
	k, err := care.New(c)
	require.NoError(t, err)
	wg.Go(func() {
		if err := k.Run(ctx); err != nil {
			t.Error(err)
		}
	})
}

// TestOneAtATime has three processes look after the same three members, then each after its own.
func TestOneAtATime(t *testing.T) {
	for name, own := range map[string]bool{"all": false, "own": true} {
		for state, full := range map[string]bool{"fragmented": false, "full": true} {
			t.Run(name+" "+state, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { oneAtATime(t, own, full) })
			})
		}
	}
}

func oneAtATime(t *testing.T, own, full bool) {
	c := newCluster(3, 100, 90)
	b := store{inMemory(t), c}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for _, endpoint := range c.endpoints() {
		config := care.Config{Backend: b, Maintenance: c, Endpoints: c.endpoints()}
		if own {
			config.Endpoints = []string{endpoint}
		}
		keep(t, ctx, &wg, config)
	}
	time.Sleep(time.Minute) // all have their tickets
	c.mu.Lock()
	for _, id := range c.endpoints() {
		c.size[id], c.inUse[id] = 990*mib, 300*mib
		if full {
			c.full[id] = true
		}
	}
	c.mu.Unlock()
	time.Sleep(20 * time.Minute)
	c.mu.Lock()
	defer c.mu.Unlock()
	require.Equal(t, 1, c.most)
	require.Len(t, c.done, 3)
	if !own {
		require.Equal(t, "1", c.done[2], "the leader last")
	}
	require.Empty(t, c.full)
	page, err := b.Range(t.Context(), storage.Range{Prefix: "/bedplate.io/care/ticket/"})
	require.NoError(t, err)
	require.Len(t, page.KVs, 3, "all have tickets again")
}

// TestFreshOnAFullStore: who starts on a full store gets no ticket, and helps all the same.
func TestFreshOnAFullStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(1, 990, 300)
		c.full["1"] = true
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		keep(t, ctx, &wg, care.Config{Backend: store{inMemory(t), c}, Maintenance: c, Endpoints: c.endpoints()})
		time.Sleep(5 * time.Minute)
		require.False(t, c.isFull())
		cancel()
		wg.Wait()
	})
}

// TestAbandonedTicket: who dies with the first ticket holds the others up for as long as its lease lasts.
func TestAbandonedTicket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(1, 990, 300)
		b := store{inMemory(t), c}
		lease, err := b.Grant(t.Context(), time.Minute)
		require.NoError(t, err)
		_, err = b.Commit(t.Context(), storage.Txn{Then: []storage.Op{
			{Key: "/bedplate.io/care/ticket/dead", Value: []byte{}, Lease: lease.ID},
		}})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		keep(t, ctx, &wg, care.Config{Backend: b, Maintenance: c, Endpoints: c.endpoints()})
		time.Sleep(50 * time.Second)
		require.Empty(t, c.order())
		time.Sleep(5 * time.Minute)
		require.Equal(t, []string{"1"}, c.order())
		cancel()
		wg.Wait()
		page, err := b.Range(t.Context(), storage.Range{Prefix: "/bedplate.io/care/"})
		require.NoError(t, err)
		require.Empty(t, page.KVs, "whoever ends leaves nothing")
	})
}

// TestWaitsForTheIll: nothing is defragmented while a member is away, but compaction goes on.
func TestWaitsForTheIll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(3, 800, 100)
		c.broken["3"] = errors.New("away")
		b := inMemory(t)
		for range 5 {
			_, err := b.Commit(t.Context(), storage.Txn{Then: []storage.Op{{Key: "/a", Value: []byte("x")}}})
			require.NoError(t, err)
		}
		reg := prometheus.NewRegistry()
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		keep(t, ctx, &wg, care.Config{Backend: b, Maintenance: c, Endpoints: c.endpoints(), Registerer: reg})
		time.Sleep(4 * time.Minute)
		_, err := b.Range(t.Context(), storage.Range{Prefix: "/a", At: 3})
		require.NoError(t, err)
		time.Sleep(2 * time.Minute)
		_, err = b.Range(t.Context(), storage.Range{Prefix: "/a", At: 3})
		require.ErrorIs(t, err, storage.ErrTooOld)
		require.Empty(t, c.order())
		c.mu.Lock()
		delete(c.broken, "3")
		c.mu.Unlock()
		time.Sleep(10 * time.Minute)
		require.Equal(t, []string{"2", "3", "1"}, c.order())
		cancel()
		wg.Wait()
		require.EqualValues(t, 800*mib, value(t, reg, "apiserver_storage_size_bytes", "storage_cluster_id", "etcd-0")+700*mib)
		require.EqualValues(t, 3, value(t, reg, "bedplate_etcd_care_actions_total", "action", "defragment"))
	})
}

func TestConfig(t *testing.T) {
	b, c := inMemory(t), newCluster(1, 1, 1)
	for text, config := range map[string]care.Config{
		"no backend":     {Maintenance: c},
		"no maintenance": {Backend: b},
		"negative":       {Backend: b, Maintenance: c, Interval: -1},
		"part of 1":      {Backend: b, Maintenance: c, MinFreeRatio: 2},
		"end in /":       {Backend: b, Maintenance: c, Prefix: "/x"},
		"no Compact":     {Backend: struct{ storage.Backend }{b}, Maintenance: c},
	} {
		_, err := care.New(config)
		require.ErrorContains(t, err, text)
	}
	k, err := care.New(care.Config{Backend: b, Maintenance: c})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, k.Run(ctx))
	require.Error(t, k.Run(ctx))

	reg := prometheus.NewRegistry()
	_, err = care.New(care.Config{Backend: b, Maintenance: c, Registerer: reg})
	require.NoError(t, err)
	_, err = care.New(care.Config{Backend: b, Maintenance: c, Registerer: reg})
	require.ErrorContains(t, err, "register metrics")
}
