package storage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
)

// Codec turns values into stored bytes and back. Safe for concurrent use.
type Codec[T any] interface {
	Encode(v T) ([]byte, error)
	Decode(raw []byte) (T, error)
}

// JSON is the codec that a Store uses by default.
type JSON[T any] struct{}

// Encode implements Codec.
func (JSON[T]) Encode(v T) ([]byte, error) { return json.Marshal(v) }

// Decode implements Codec.
func (JSON[T]) Decode(raw []byte) (v T, err error) {
	err = json.Unmarshal(raw, &v)
	return v, err
}

// Item is one value with its key and revisions.
type Item[T any] struct {
	Key          string
	Value        T
	Rev, Created int64
}

// Change is one change of one item. Old nil: added. New nil: deleted.
type Change[T any] struct {
	Key      string
	Old, New *T
	Rev      int64
}

// Store is a thin typed layer over a Table, for users of storage alone. Values that it returns are the
// caller's own. A value that cannot be read or decoded is an error, a *CorruptError that names it; the Snapshot of
// Table lists the others. It needs the DB's Run: until that runs, reads wait for as long as their context lets them.
// For leases and conditions write with DB.Commit; JSON[T]{}.Encode makes the bytes. All methods may be called
// concurrently.
type Store[T any] struct {
	t *Table
	c Codec[T]
}

// NewStore opens a table at the prefix with a codec; nil: JSON.
func NewStore[T any](db *DB, prefix string, c Codec[T]) (*Store[T], error) {
	if c == nil {
		c = JSON[T]{}
	}
	t, err := db.Table(Schema{Prefix: prefix})
	if err != nil {
		return nil, err
	}
	return &Store[T]{t, c}, nil
}

// StoreOf makes a store of a table that is open, for one with a Schema: indexes and labels. A nil codec is JSON.
func StoreOf[T any](t *Table, c Codec[T]) *Store[T] {
	if c == nil {
		c = JSON[T]{}
	}
	return &Store[T]{t, c}
}

// Table returns the table beneath, for commits over several keys, conditions and snapshots.
func (s *Store[T]) Table() *Table { return s.t }

// Get reads one value, linearizable. Errors are those of Table.Get, and *CorruptError if the codec cannot
// decode the value.
func (s *Store[T]) Get(ctx context.Context, key string) (Item[T], error) {
	return s.get(ctx, key, 0)
}

func (s *Store[T]) get(ctx context.Context, key string, min int64) (Item[T], error) {
	e, err := s.t.Get(ctx, key, min)
	if err != nil {
		return Item[T]{}, err
	}
	return s.item(e)
}

func (s *Store[T]) item(e *Entry) (Item[T], error) {
	v, err := s.c.Decode(e.Raw)
	if err != nil {
		return Item[T]{}, &CorruptError{Key: s.t.Abs(e.Key), Rev: e.Rev, Err: err}
	}
	return Item[T]{Key: e.Key, Value: v, Rev: e.Rev, Created: e.Created}, nil
}

// List reads all values whose keys begin with prefix, at one revision, linearizable, and returns that
// revision, from which Watch goes on.
func (s *Store[T]) List(ctx context.Context, prefix string) ([]Item[T], int64, error) {
	return s.ListWhere(ctx, Filter{Prefix: prefix})
}

// ListWhere is List of what a filter selects. Of a value that cannot be read nobody knows whether the filter would
// select it: any under the filter's Key and Prefix is an error.
func (s *Store[T]) ListWhere(ctx context.Context, f Filter) ([]Item[T], int64, error) {
	snap, err := s.t.Snapshot(ctx, 0, false)
	if err != nil {
		return nil, 0, err
	}
	for c := range snap.Corrupt() {
		if key := c.Key[len(s.t.schema.Prefix):]; hasPrefix(key, f.Prefix) && (f.Key == "" || f.Key == key) {
			return nil, 0, &tableError{"list", s.t.schema.Prefix, c}
		}
	}
	var items []Item[T]
	for e := range snap.All(f, "") {
		item, err := s.item(e)
		if err != nil {
			return nil, 0, err
		}
		items = append(items, item)
	}
	return items, snap.Rev(), nil
}

// Create stores a new value and returns its revision; a *ConflictError if the key exists.
func (s *Store[T]) Create(ctx context.Context, key string, v T) (int64, error) {
	return s.put(ctx, key, v, 0, 0)
}

func (s *Store[T]) put(ctx context.Context, key string, v T, at, lease int64) (int64, error) {
	if key == "" {
		return 0, &tableError{"write", s.t.schema.Prefix, errors.New("no key")}
	}
	raw, err := s.c.Encode(v)
	if err != nil {
		return 0, fmt.Errorf("encode %s: %w", s.t.Abs(key), err)
	}
	if raw == nil {
		raw = []byte{}
	}
	return s.t.db.Commit(ctx, Write{Table: s.t, Key: key, Value: raw, At: at, Lease: lease})
}

// Update reads the value, calls change and stores the result, again and again until nobody else wrote in
// between; change may run several times and must have no effect of its own. An error of change ends it and
// is returned. The key keeps its lease. ErrNotFound if there is no value.
func (s *Store[T]) Update(ctx context.Context, key string, change func(T) (T, error)) (Item[T], error) {
	var min, lease int64
	if _, err := s.t.db.leaser(); err == nil {
		lease = KeepLease
	}
	for {
		item, err := s.get(ctx, key, min)
		if err != nil {
			return Item[T]{}, err
		}
		if item.Value, err = change(item.Value); err != nil {
			return Item[T]{}, fmt.Errorf("update %s: %w", s.t.Abs(key), err)
		}
		rev, err := s.put(ctx, key, item.Value, item.Rev, lease)
		var conflict *ConflictError
		switch {
		case err == nil:
			item.Rev = rev
			return item, nil
		case !errors.As(err, &conflict):
			return Item[T]{}, err
		}
		min = conflict.Have // 0 if it is gone: read again what is true
	}
}

// Delete removes a value; rev 0 removes whatever is there, else only the value of that revision
// (*ConflictError). ErrNotFound if there is none.
func (s *Store[T]) Delete(ctx context.Context, key string, rev int64) error {
	if rev < 0 {
		return &tableError{"delete", s.t.Abs(key), fmt.Errorf("revision %d: want a revision, or 0 for whatever is there", rev)}
	}
	for {
		at := rev
		if at == 0 {
			e, err := s.t.Get(ctx, key, 0)
			var corrupt *CorruptError
			switch {
			case err == nil:
				at = e.Rev
			case errors.As(err, &corrupt):
				at = corrupt.Rev
			default:
				return err
			}
		}
		_, err := s.t.db.Commit(ctx, Write{Table: s.t, Key: key, At: at})
		var conflict *ConflictError
		switch {
		case !errors.As(err, &conflict):
			return err
		case !conflict.Exists:
			return &tableError{"delete", s.t.Abs(key), ErrNotFound}
		case rev != 0:
			return err
		}
	}
}

// Watch yields the changes after revision since (0: from now on) of keys that begin with prefix, until ctx
// ends or the loop is left. The last pair may hold an error: those of Watcher.Next, or a *CorruptError of a value that
// cannot be read or decoded; the Change beside that has its Key and Rev, and watching again from this Rev goes on
// behind it.
func (s *Store[T]) Watch(ctx context.Context, prefix string, since int64) iter.Seq2[Change[T], error] {
	return s.WatchWhere(ctx, Filter{Prefix: prefix}, since)
}

// WatchWhere is Watch of what a filter selects, but for its bookmarks: what moves into the filter is added, and what
// moves out of it deleted.
func (s *Store[T]) WatchWhere(ctx context.Context, f Filter, since int64) iter.Seq2[Change[T], error] {
	f.Bookmarks = false
	w, err := s.t.Watch(since, f)
	return func(yield func(Change[T], error) bool) {
		if err != nil {
			yield(Change[T]{}, err)
			return
		}
		defer w.Close()
		for {
			events, err := w.Next(ctx)
			if err != nil {
				if ctx.Err() == nil {
					yield(Change[T]{}, err)
				}
				return
			}
			for _, ev := range events {
				if c, err := s.change(ev); !yield(c, err) || err != nil {
					return
				}
			}
		}
	}
}

func (s *Store[T]) change(ev Event) (c Change[T], err error) {
	e := ev.New
	if e == nil {
		e = ev.Old
	}
	c.Key, c.Rev = e.Key, ev.Rev
	if ev.Corrupt != nil {
		return c, &tableError{"watch", s.t.schema.Prefix, ev.Corrupt}
	}
	if c.Old, err = s.value(ev.Old); err == nil {
		c.New, err = s.value(ev.New)
	}
	if err != nil {
		return Change[T]{Key: c.Key, Rev: c.Rev}, err
	}
	return c, nil
}

func (s *Store[T]) value(e *Entry) (*T, error) {
	if e == nil {
		return nil, nil
	}
	item, err := s.item(e)
	if err != nil {
		return nil, err
	}
	return &item.Value, nil
}
