package storagesuite

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/value"

	bed "github.com/bedplate/bedplate/storage"
)

// Config is what an Adapter is made of. Zero and Linger may be zero.
type Config struct {
	Backend     bed.Backend
	DB          *bed.DB // over Backend; the caller runs it
	Schema      bed.Schema
	Codec       runtime.Codec
	Transformer value.Transformer
	New         func() runtime.Object
	// Zero is the revision that a read at resourceVersion "0" asks the table for: bed.Cached, whatever the cache has,
	// as Kubernetes' watch cache does, or 0, the latest, as its etcd3 store does.
	Zero int64
	// Linger is how much longer than its time to live the lease of an object lasts. (Kubernetes' store shares leases
	// among objects, which comes to the same.)
	Linger time.Duration
}

// Adapter is the storage.Interface of one table. All methods may be called concurrently.
type Adapter struct {
	c         Config
	versioner storage.APIObjectVersioner
	table     atomic.Pointer[bed.Table]
	sizes     atomic.Bool

	mu          sync.RWMutex
	transformer value.Transformer
}

var _ storage.Interface = (*Adapter)(nil)

// New opens the table of the schema.
func New(c Config) (*Adapter, error) {
	a := &Adapter{c: c, transformer: c.Transformer}
	return a, a.Reopen()
}

// Reopen forgets what the cache knows, the window of the past included: what a process is left with that starts now.
func (a *Adapter) Reopen() error {
	if old := a.table.Load(); old != nil {
		a.c.DB.Drop(old)
	}
	t, err := a.c.DB.Table(a.c.Schema)
	a.table.Store(t)
	return err
}

// UseTransformer puts another transformer in place of the present one, which it returns.
func (a *Adapter) UseTransformer(t value.Transformer) (old value.Transformer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	old, a.transformer = a.transformer, t
	return old
}

// Transformer returns the transformer in use.
func (a *Adapter) Transformer() value.Transformer {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.transformer
}

// Versioner implements storage.Interface.
func (a *Adapter) Versioner() storage.Versioner { return a.versioner }

// key checks a key and returns it relative to the table.
func (a *Adapter) key(key string, recursive bool) (string, error) {
	key, err := storage.PrepareKey(a.c.Schema.Prefix, key, recursive)
	return strings.TrimPrefix(key, a.c.Schema.Prefix), err
}

func (a *Adapter) abs(key string) string { return a.c.Schema.Prefix + key }

// Stats implements storage.Interface.
func (a *Adapter) Stats(ctx context.Context) (storage.Stats, error) {
	s, err := a.table.Load().Snapshot(ctx, bed.Cached, false)
	if err != nil {
		return storage.Stats{}, err
	}
	stats := storage.Stats{ObjectCount: int64(s.Len())}
	if a.sizes.Load() && stats.ObjectCount > 0 {
		var size int64
		for e := range s.All(bed.Filter{}, "") {
			size += int64(len(e.Raw))
		}
		stats.EstimatedAverageObjectSizeBytes = size / stats.ObjectCount
	}
	return stats, nil
}

// EnableResourceSizeEstimation implements storage.Interface. The cache has the objects, and needs no keys.
func (a *Adapter) EnableResourceSizeEstimation(storage.KeysFunc) error {
	a.sizes.Store(true)
	return nil
}

// ReadinessCheck implements storage.Interface.
func (a *Adapter) ReadinessCheck() error {
	select {
	case <-a.c.DB.Ready():
		return nil
	default:
		return storage.ErrStorageNotReady
	}
}

// GetCurrentResourceVersion implements storage.Interface.
func (a *Adapter) GetCurrentResourceVersion(ctx context.Context) (uint64, error) {
	rev, err := a.c.DB.Revision(ctx)
	return uint64(rev), err
}

// RequestWatchProgress implements storage.Interface: the caches promptly come to a revision that was asked for.
func (a *Adapter) RequestWatchProgress(ctx context.Context) error {
	_, err := a.c.DB.Revision(ctx)
	return err
}

// CompactRevision implements storage.Interface: it asks for the first revision and is told the oldest.
func (a *Adapter) CompactRevision() int64 {
	_, err := a.c.Backend.Range(context.Background(), bed.Range{At: 1, Limit: 1})
	if old, ok := errors.AsType[*bed.TooOldError](err); ok {
		return old.Oldest
	}
	return 0
}
