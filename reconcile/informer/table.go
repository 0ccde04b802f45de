package informer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/storage"
)

// Table is a server's table in this process, as [View] needs it.
type Table[T apimachinery.Object] struct {
	Table *storage.Table
	// Object returns an entry's shared object, with apiVersion, kind and resourceVersion; it memoises it in the
	// entry (storage.Entry.Form).
	Object func(*storage.Entry) (T, error)
	// Filter selects. Its Bookmarks is ignored.
	Filter storage.Filter
	// Log hears of what goes wrong. nil: off.
	Log *slog.Logger
}

// View returns an informer over a table in the same process. It holds the table's own entries and decodes them
// when somebody asks, so that the bytes exist once, and each object at most once.
func View[T apimachinery.Object](t Table[T]) (*Informer[T], error) {
	if t.Table == nil || t.Object == nil {
		return nil, errors.New("make an informer: Table and Object must be set")
	}
	t.Filter.Bookmarks = true
	s := &local[T]{t}
	i := assemble(s, t.Log)
	s.Log = i.log.With("table", t.Table.Prefix())
	return i, nil
}

// local is a source that follows a table.
type local[T apimachinery.Object] struct{ Table[T] }

// run ends when ctx does, or when the table is gone.
func (s *local[T]) run(ctx context.Context, emit func(step[T])) error {
	for {
		err := s.once(ctx, emit)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, storage.ErrClosed):
			return fmt.Errorf("follow table %s: %w", s.Table.Table.Prefix(), err)
		}
		s.Log.Info("read the table anew", "err", err)
		if errors.Is(err, storage.ErrTooOld) {
			continue
		}
		select {
		case <-ctx.Done():
		case <-time.After(firstPause):
		}
	}
}

func (s *local[T]) once(ctx context.Context, emit func(step[T])) error {
	snap, err := s.Table.Table.Snapshot(ctx, 0, false)
	if err != nil {
		return err
	}
	w, err := s.Table.Table.Watch(snap.Rev(), s.Filter)
	if err != nil {
		return err
	}
	defer w.Close()
	st := step[T]{whole: true, rev: snap.Rev()}
	for e := range snap.All(s.Filter, "") {
		st.updates = append(st.updates, update[T]{key: e.Key, item: s.item(e)})
	}
	emit(st)
	for {
		events, err := w.Next(ctx)
		if err != nil {
			return err
		}
		emit(s.step(events))
	}
}

func (s *local[T]) item(e *storage.Entry) *item[T] {
	return &item[T]{load: func() (T, error) { return s.Object(e) }}
}

func (s *local[T]) step(events []storage.Event) (st step[T]) {
	for _, e := range events {
		st.rev = max(st.rev, e.Rev)
		switch {
		case e.New != nil:
			st.updates = append(st.updates, update[T]{key: e.New.Key, item: s.item(e.New)})
		case e.Corrupt != nil: // it is not gone: what is known of it stays
		case e.Old != nil:
			st.updates = append(st.updates, update[T]{key: e.Old.Key})
		}
	}
	return st
}
