package storage_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net/url"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.uber.org/zap"

	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/etcd/embedded"
)

// The benchmarks compare with a floor in the same run, and in turns where they can (compare), so that a busy
// machine is busy for both. CPU times are those of the whole process: client, cache, garbage collection and, if
// it runs inside, etcd.

const (
	objectSize = 2900
	prefix     = "/registry/pods/"
)

// checksum is the word that an object's first eight bytes hold.
func checksum(key string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(key))
	return h.Sum64()
}

// random makes objects of random bytes that say which key they belong to. One goroutine may use it.
type random struct{ source *rand.ChaCha8 }

func newRandom() random { return random{rand.NewChaCha8([32]byte{1})} }

func (r random) object(key string, size int) []byte {
	raw := make([]byte, size)
	r.source.Read(raw)
	binary.LittleEndian.PutUint64(raw, checksum(key))
	return raw
}

func word(raw []byte) uint64 { return binary.LittleEndian.Uint64(raw) }

// podKey is the key of the i-th object, relative to the table.
func podKey(i int) string { return fmt.Sprintf("ns-%03d/pod-%07d", i%100, i) }

// serve runs an embedded etcd, fsync on.
func serve(b *testing.B) storage.Backend {
	b.Helper()
	s, err := embedded.New(embedded.Config{Dir: b.TempDir()})
	require.NoError(b, err)
	background(b, s.Run)
	<-s.Ready()
	return s.Backend()
}

// rawEtcd runs an etcd in this process with the settings that serve's has, and nothing of ours around it.
func rawEtcd(b *testing.B) *etcdserver.EtcdServer {
	b.Helper()
	cfg := embed.NewConfig()
	cfg.Name, cfg.Dir = "floor", b.TempDir()
	cfg.AdvertisePeerUrls, cfg.ListenPeerUrls = []url.URL{{Scheme: "http", Host: "127.0.0.1:2380"}}, nil
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = nil, nil
	cfg.InitialCluster = "floor=http://127.0.0.1:2380"
	cfg.TickMs, cfg.ElectionMs = 10, 100
	cfg.SnapshotCount, cfg.SnapshotCatchUpEntries = 1_000, 1_000
	cfg.QuotaBackendBytes, cfg.MaxRequestBytes, cfg.MaxTxnOps = 4<<30, 8<<20, 1024
	cfg.EnableGRPCGateway = false
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	e, err := embed.StartEtcd(cfg)
	require.NoError(b, err)
	b.Cleanup(e.Close)
	<-e.Server.ReadyNotify()
	return e.Server
}

// rawCreate is the bare transaction: put if absent.
func rawCreate(ctx context.Context, s *etcdserver.EtcdServer, key string, value []byte) error {
	k := []byte(key)
	resp, err := s.Txn(ctx, &pb.TxnRequest{
		Compare: []*pb.Compare{{
			Key: k, Target: pb.Compare_MOD, Result: pb.Compare_EQUAL,
			TargetUnion: &pb.Compare_ModRevision{ModRevision: 0},
		}},
		Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: k, Value: value}}}},
	})
	if err == nil && !resp.Succeeded {
		err = fmt.Errorf("%s exists", key)
	}
	return err
}

func background(b *testing.B, run func(context.Context) error) {
	b.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	b.Cleanup(func() {
		cancel()
		require.NoError(b, <-ended)
	})
}

func openDB(b *testing.B, backend storage.Backend, c storage.Config) (*storage.DB, *storage.Table) {
	b.Helper()
	db, err := storage.New(backend, c)
	require.NoError(b, err)
	t, err := db.Table(storage.Schema{Prefix: prefix})
	require.NoError(b, err)
	background(b, db.Run)
	<-db.Ready()
	return db, t
}

// load makes a table load, and returns what it holds.
func load(b *testing.B, t *storage.Table) *storage.Snapshot {
	b.Helper()
	s, err := t.Snapshot(b.Context(), 0, false)
	require.NoError(b, err)
	return s
}

// fill puts n objects into a backend, many in a transaction.
func fill(ctx context.Context, backend storage.Backend, n, size int) error {
	const at = 100
	r := newRandom()
	for i := 0; i < n; i += at {
		var txn storage.Txn
		for j := i; j < min(i+at, n); j++ {
			key := podKey(j)
			txn.Then = append(txn.Then, storage.Op{Key: prefix + key, Value: r.object(key, size)})
		}
		if _, err := backend.Commit(ctx, txn); err != nil {
			return err
		}
	}
	return nil
}

// cost is what a number of operations took.
type cost struct {
	ops       int
	wall, cpu time.Duration
	latency   []time.Duration // of each operation; nil if nobody asked
}

func (c cost) perSecond() float64 { return float64(c.ops) / c.wall.Seconds() }
func (c cost) cpuNs() float64     { return float64(c.cpu.Nanoseconds()) / float64(c.ops) }

func (c *cost) add(o cost) {
	c.ops += o.ops
	c.wall += o.wall
	c.cpu += o.cpu
	c.latency = append(c.latency, o.latency...)
}

// measure runs something that does a number of operations.
func measure(ops int, run func()) cost {
	start, before := time.Now(), cpuTime()
	run()
	return cost{ops: ops, wall: time.Since(start), cpu: cpuTime() - before}
}

// report adds a cost to what the benchmark prints, under names that begin with what it is of.
func (c cost) report(b *testing.B, of string) {
	b.ReportMetric(c.perSecond(), of+"op/s")
	b.ReportMetric(c.cpuNs(), of+"cpu-ns/op")
	c.reportLatency(b, of)
}

func (c cost) reportLatency(b *testing.B, of string) {
	if len(c.latency) == 0 {
		return
	}
	slices.Sort(c.latency)
	b.ReportMetric(us(percentile(c.latency, 50)), of+"p50-µs")
	b.ReportMetric(us(percentile(c.latency, 99)), of+"p99-µs")
}

func us(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }

func percentile(sorted []time.Duration, p int) time.Duration {
	return sorted[min(len(sorted)*p/100, len(sorted)-1)]
}

// clients runs operations from n goroutines; i counts them from first on.
func clients(b *testing.B, n, first, ops int, op func(i int) error) cost {
	b.Helper()
	latency := make([]time.Duration, ops)
	var next atomic.Int64
	c := measure(ops, func() {
		var wg sync.WaitGroup
		for range min(n, ops) {
			wg.Go(func() {
				for i := int(next.Add(1)) - 1; i < ops; i = int(next.Add(1)) - 1 {
					start := time.Now()
					if err := op(first + i); err != nil {
						b.Error(err)
						return
					}
					latency[i] = time.Since(start)
				}
			})
		}
		wg.Wait()
	})
	c.latency = latency
	return c
}

// compare runs b.N operations of the floor and of ours, in turns, and reports both and how they compare: the
// medians over the turns of the ratio of their throughputs and of the CPU that ours takes more. It returns what
// both took.
func compare(b *testing.B, floor, ours func(first, ops int) cost) (f, o cost) {
	b.Helper()
	turns := min(20, b.N)
	var ratio, more []float64
	b.ResetTimer()
	for turn := range turns {
		first := b.N * turn / turns
		ops := b.N*(turn+1)/turns - first
		var x, y cost
		if turn%2 == 0 {
			x, y = floor(first, ops), ours(first, ops)
		} else {
			y, x = ours(first, ops), floor(first, ops)
		}
		ratio = append(ratio, y.perSecond()/x.perSecond())
		more = append(more, y.cpuNs()-x.cpuNs())
		f.add(x)
		o.add(y)
	}
	b.StopTimer()
	b.ReportMetric(float64(o.wall.Nanoseconds())/float64(o.ops), "ns/op") // of ours alone
	o.report(b, "")
	f.report(b, "floor-")
	b.ReportMetric(100*median(ratio), "%-of-floor")
	b.ReportMetric(median(more)/1000, "more-cpu-µs/op")
	return f, o
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

// liveHeap is what a collection leaves.
func liveHeap() uint64 {
	runtime.GC()
	runtime.GC() // what finalizers and pools held on to
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
