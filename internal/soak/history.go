//go:build linux

package soak

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/bedplate/bedplate/storage"
)

// change is one key's change in one revision.
type change struct {
	Key     string // as clients give it
	Value   string
	Deleted bool
	Rev     int64
}

// history is all that happened in the store, by revision, after a base. Recorders fill it, each with what it has seen
// and none without gaps; where two have seen the same revision they must agree.
type history struct {
	mu       sync.Mutex
	base     int64
	revs     map[int64][]change
	whole    int64 // all revisions up to and including it are there
	moved    chan struct{}
	disagree []string

	versions map[string][]change // made by index: of each key, the base's first
}

func newHistory(base int64, before []change) *history {
	h := &history{base: base, whole: base, revs: map[int64][]change{}, moved: make(chan struct{}), versions: map[string][]change{}}
	for _, c := range before {
		h.versions[c.Key] = []change{c}
	}
	return h
}

// add takes one whole revision in.
func (h *history) add(rev int64, changes []change) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if rev <= h.base {
		return
	}
	if had, ok := h.revs[rev]; ok {
		if !slices.Equal(had, changes) {
			h.disagree = append(h.disagree, fmt.Sprintf("revision %d is %v to one watch and %v to another", rev, had, changes))
		}
		return
	}
	h.revs[rev] = changes
	for h.revs[h.whole+1] != nil {
		h.whole++
	}
	close(h.moved)
	h.moved = make(chan struct{})
}

func (h *history) upTo() (rev int64, moved <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.whole, h.moved
}

// await returns once everything up to rev is there.
func (h *history) await(ctx context.Context, rev int64) error {
	for {
		whole, moved := h.upTo()
		if whole >= rev {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("history ends at revision %d, the store at %d: %w", whole, rev, ctx.Err())
		}
	}
}

// index prepares the questions below. Nothing is added afterwards.
func (h *history) index() {
	for rev := h.base + 1; rev <= h.whole; rev++ {
		for _, c := range h.revs[rev] {
			h.versions[c.Key] = append(h.versions[c.Key], c)
		}
	}
}

// String shortens the value.
func (c change) String() string {
	if c.Deleted {
		return fmt.Sprintf("%s deleted@%d", c.Key, c.Rev)
	}
	return entry{c.Key, c.Value, c.Rev}.String()
}

// at is what a key was at a revision, and the revision of its next change (0: none).
func (h *history) at(key string, rev int64) (now change, next int64) {
	all := h.versions[key]
	i := sort.Search(len(all), func(i int) bool { return all[i].Rev > rev })
	if i < len(all) {
		next = all[i].Rev
	}
	if i == 0 {
		return change{Key: key, Deleted: true}, next
	}
	return all[i-1], next
}

// state is all keys of a table at a revision, in order.
func (h *history) state(table string, rev int64) []entry {
	var out []entry
	for key := range h.versions {
		if !strings.HasPrefix(key, table) {
			continue
		}
		if c, _ := h.at(key, rev); !c.Deleted {
			out = append(out, entry{Key: key, Value: c.Value, Rev: c.Rev})
		}
	}
	slices.SortFunc(out, func(a, b entry) int { return strings.Compare(a.Key, b.Key) })
	return out
}

// record follows one etcd's own watch, from where the history is whole, until ctx ends.
func (h *history) record(ctx context.Context, c *clientv3.Client) {
	for ctx.Err() == nil {
		from, _ := h.upTo()
		one, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
		for resp := range c.Watch(one, "\x00", clientv3.WithRange("\x00"), clientv3.WithRev(from+1)) {
			if resp.Err() != nil {
				break // compacted or without a leader: again, from where the history is by then
			}
			h.take(resp.Events)
		}
		cancel()
		pause(ctx, pauseShort)
	}
}

func (h *history) take(events []*clientv3.Event) {
	for len(events) > 0 {
		rev, n := events[0].Kv.ModRevision, 1
		for n < len(events) && events[n].Kv.ModRevision == rev {
			n++
		}
		changes := make([]change, n)
		for i, ev := range events[:n] {
			changes[i] = change{
				Key: strings.TrimPrefix(string(ev.Kv.Key), root), Value: string(ev.Kv.Value), Rev: rev,
				Deleted: ev.Type == clientv3.EventTypeDelete,
			}
		}
		h.add(rev, changes)
		events = events[n:]
	}
}

// recordBackend follows the watch of a backend that nobody tampers with.
func (h *history) recordBackend(ctx context.Context, b storage.Backend) {
	for batch, err := range b.Watch(ctx, "", h.base) {
		if err != nil {
			return
		}
		if len(batch.Events) == 0 {
			continue
		}
		changes := make([]change, len(batch.Events))
		for i, kv := range batch.Events {
			changes[i] = change{Key: strings.TrimPrefix(kv.Key, root), Value: string(kv.Value), Rev: kv.Rev, Deleted: kv.Value == nil}
		}
		h.add(batch.Rev, changes)
	}
}
