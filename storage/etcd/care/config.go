package care

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/bedplate/bedplate/storage"
)

// Compacter is what a storage.Backend must offer to be compacted; those of storage/etcd and
// storage/etcd/embedded do.
type Compacter interface {
	// Compact forgets the history before rev; a *storage.TooOldError if that is done already.
	Compact(ctx context.Context, rev int64) error
}

// Maintenance is the part of an etcd client that care needs: *clientv3.Client has it, and so has
// *embedded.Maintenance, for its own member, whatever the endpoint.
type Maintenance interface {
	Status(ctx context.Context, endpoint string) (*clientv3.StatusResponse, error)
	Defragment(ctx context.Context, endpoint string) (*clientv3.DefragmentResponse, error)
	AlarmList(ctx context.Context) (*clientv3.AlarmResponse, error)
	AlarmDisarm(ctx context.Context, a *clientv3.AlarmMember) (*clientv3.AlarmResponse, error)
}

var _ Maintenance = (*clientv3.Client)(nil)

// Config configures a Keeper. Backend and Maintenance are required, all else has defaults.
type Config struct {
	// Backend is the store; it must be a Compacter unless History is negative.
	Backend storage.Backend
	// Maintenance reaches the members.
	Maintenance Maintenance
	// Endpoints are those of the members to look after, each member's own: an address that stands for several
	// members will not do. For a client these are all members, as client.Sync and client.Endpoints find them.
	// Default: one empty endpoint, which is right for an embedded member. Several processes, each with an
	// embedded member, each look after their own.
	Endpoints []string
	// Healthy says what else must be well before a member is defragmented, such as members that are not among
	// the Endpoints; an error puts it off. Nil: nothing.
	Healthy func(ctx context.Context) error

	// History is how long old revisions are kept, at least. Default 5 minutes, as Kubernetes has it; negative:
	// this Keeper does not compact, not even a full store.
	History time.Duration
	// Interval is how often it looks. Default 10 s.
	Interval time.Duration
	// MinFree is how many bytes of free pages a file must have to be defragmented. Default 128 MiB; negative:
	// it is not defragmented to save space, only when the store is full or about to be.
	MinFree int64
	// MinFreeRatio is which part of a file must be free pages to be defragmented. Default 0.5.
	MinFreeRatio float64
	// Rest is the least time between two defragmentations of one member. Default 10 minutes; in a full store
	// four intervals, if that is less.
	Rest time.Duration
	// Timeout bounds one defragmentation. Default 5 minutes. Other requests have 10 s.
	Timeout time.Duration
	// Quota is the quota in bytes where the member does not tell (before etcd 3.6). Default 2 GiB.
	Quota int64
	// Prefix is where the tickets lie. All Keepers of an etcd must agree on it. Default "/bedplate.io/care/".
	Prefix string

	// Registerer takes apiserver_storage_size_bytes and what the Keeper does. Nil: off.
	Registerer prometheus.Registerer
	// Log hears of what is done, and of a store that is nearly full. Nil: off.
	Log *slog.Logger
}

func (c *Config) validate() error {
	switch {
	case c.Backend == nil:
		return errors.New("no backend given")
	case c.Maintenance == nil:
		return errors.New("no maintenance given")
	case c.Interval < 0 || c.Rest < 0 || c.Timeout < 0 || c.Quota < 0:
		return errors.New("a time or limit is negative")
	case c.MinFreeRatio < 0 || c.MinFreeRatio >= 1:
		return errors.New("MinFreeRatio is not a part of 1")
	case c.Prefix != "" && !strings.HasSuffix(c.Prefix, "/"):
		return errors.New("the prefix does not end in /")
	}
	if _, ok := c.Backend.(Compacter); !ok && c.History >= 0 {
		return errors.New("the backend has no Compact: set History to a negative value to leave that to others")
	}
	return nil
}

func (c Config) withDefaults() Config {
	setDefault(&c.History, 5*time.Minute)
	setDefault(&c.Interval, 10*time.Second)
	setDefault(&c.MinFree, 128<<20)
	setDefault(&c.MinFreeRatio, 0.5)
	setDefault(&c.Rest, 10*time.Minute)
	setDefault(&c.Timeout, 5*time.Minute)
	setDefault(&c.Quota, 2<<30)
	setDefault(&c.Prefix, "/bedplate.io/care/")
	if len(c.Endpoints) == 0 {
		c.Endpoints = []string{""}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}
