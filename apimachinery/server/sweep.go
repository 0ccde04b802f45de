package server

import (
	"context"
	"errors"
	"time"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/storage"
)

// maxSwept is how many objects of a resource one sweep deletes; the rest waits for the next.
const maxSwept = 10_000

const createdAt = "metadata.creationTimestamp"

// sweep deletes objects past their TTL, again and again until ctx ends. Of several servers over one store each
// may do it: a deletion counts for the state that was judged alone.
func (s *Server) sweep(ctx context.Context) {
	t := time.NewTicker(s.c.Limits.Sweep)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		for _, res := range s.c.Registry.All() {
			if res.TTL <= 0 {
				continue
			}
			if err := s.sweepResource(ctx, res); err != nil && ctx.Err() == nil {
				s.c.Log.Warn("objects past their time are left for the next sweep", "resource", res.Name.String(), "err", err)
			}
		}
	}
}

func (s *Server) sweepResource(ctx context.Context, res *apimachinery.Resource) error {
	k, err := s.kind(res)
	if err != nil || k.table == nil {
		return err
	}
	snap, err := k.table.Snapshot(ctx, storage.Cached, false)
	if err != nil {
		return err
	}
	before := s.now().Add(-res.TTL).UTC()
	old := storage.Filter{Index: k.createdBefore(before.Format(time.RFC3339))}
	swept := 0
	for e := range snap.All(old, "") {
		hub, err := k.hub(e)
		if err != nil || !lastWritten(hub).Before(before) {
			continue
		}
		_, err = s.c.DB.Commit(ctx, storage.Write{Table: k.table, Key: e.Key, At: e.Rev})
		if err != nil && !errors.Is(err, storage.ErrConflict) {
			return err
		}
		if swept++; swept == maxSwept {
			break
		}
	}
	return nil
}

// createdBefore is a filter on the index that resources with a TTL have beside their declared ones.
func (k *kind) createdBefore(text string) func([]string) bool {
	at := len(k.index) - 1
	return func(values []string) bool { return values[at] != "" && values[at] < text }
}

// lastWritten is the newest time that the object tells of itself: an object's time begins anew when it is written.
func lastWritten(o apimachinery.Object) time.Time {
	last := o.GetCreationTimestamp().Time
	for _, m := range o.GetManagedFields() {
		if m.Time != nil && m.Time.After(last) {
			last = m.Time.Time
		}
	}
	return last
}
