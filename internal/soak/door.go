//go:build linux

package soak

import (
	"context"
	"fmt"
	"strings"

	"github.com/bedplate/bedplate/storage"
)

const root = "/registry/"

// tables are the two of every DB. Keys are given as "a/name" and "b/name".
var tables = []string{"a/", "b/"}

// entry is one object as a client sees it.
type entry struct {
	Key   string `json:"k"`
	Value string `json:"v"`
	Rev   int64  `json:"r"`
}

// String shortens the value.
func (e entry) String() string { return fmt.Sprintf("%s=%.20q@%d", e.Key, e.Value, e.Rev) }

// listing is a table at one revision.
type listing struct {
	Rev     int64   `json:"r"`
	Entries []entry `json:"e"`
}

// write is one write of a commit.
type write struct {
	Key    string `json:"k"`
	Value  string `json:"v,omitempty"`
	Delete bool   `json:"d,omitempty"`
	At     int64  `json:"at"`
}

// String shortens the value.
func (w write) String() string {
	if w.Delete {
		return fmt.Sprintf("delete %s at %d", w.Key, w.At)
	}
	return fmt.Sprintf("%s=%.20q at %d", w.Key, w.Value, w.At)
}

// event is one change as a watcher sees it.
type event struct {
	Old *entry `json:"o,omitempty"`
	New *entry `json:"n,omitempty"`
	Rev int64  `json:"r"`
}

// news is what one call of Watcher.Next gave. Rev is the watcher's revision then.
type news struct {
	Rev    int64   `json:"r"`
	Events []event `json:"e"`
}

// door is one client's way into the store. Errors are storage's own.
type door interface {
	Get(ctx context.Context, key string, min int64) (entry, error)
	List(ctx context.Context, table string, at int64) (listing, error)
	Commit(ctx context.Context, writes []write) (int64, error)
	// Watch calls yield with each news until ctx ends, yield returns false, or the watch ends.
	Watch(ctx context.Context, table string, since int64, bookmarks bool, yield func(news) bool) error
	Close()
}

// dbDoor leads into a DB of this process.
type dbDoor struct {
	db     *storage.DB
	tables map[string]*storage.Table
}

func newDBDoor(db *storage.DB) (*dbDoor, error) {
	d := &dbDoor{db: db, tables: map[string]*storage.Table{}}
	for _, name := range tables {
		t, err := db.Table(storage.Schema{Prefix: root + name})
		if err != nil {
			return nil, err
		}
		d.tables[name] = t
	}
	return d, nil
}

var _ door = (*dbDoor)(nil)

// split parts a key into its table and the name there.
func split(key string) (table, name string) {
	at := strings.Index(key, "/") + 1
	return key[:at], key[at:]
}

func given(table string, e *storage.Entry) entry {
	return entry{Key: table + e.Key, Value: string(e.Raw), Rev: e.Rev}
}

func (d *dbDoor) Get(ctx context.Context, key string, min int64) (entry, error) {
	table, name := split(key)
	e, err := d.tables[table].Get(ctx, name, min)
	if err != nil {
		return entry{}, err
	}
	return given(table, e), nil
}

func (d *dbDoor) List(ctx context.Context, table string, at int64) (listing, error) {
	s, err := d.tables[table].Snapshot(ctx, at, false)
	if err != nil {
		return listing{}, err
	}
	l := listing{Rev: s.Rev()}
	for e := range s.All(storage.Filter{}, "") {
		l.Entries = append(l.Entries, given(table, e))
	}
	return l, nil
}

func (d *dbDoor) Commit(ctx context.Context, writes []write) (int64, error) {
	ws := make([]storage.Write, len(writes))
	for i, w := range writes {
		table, name := split(w.Key)
		ws[i] = storage.Write{Table: d.tables[table], Key: name, At: w.At}
		if !w.Delete {
			ws[i].Value = []byte(w.Value)
		}
	}
	return d.db.Commit(ctx, ws...)
}

func (d *dbDoor) Watch(ctx context.Context, table string, since int64, bookmarks bool, yield func(news) bool) error {
	w, err := d.tables[table].Watch(since, storage.Filter{Bookmarks: bookmarks})
	if err != nil {
		return err
	}
	defer w.Close()
	for {
		got, err := w.Next(ctx)
		if err != nil {
			return err
		}
		n := news{Rev: w.Rev(), Events: make([]event, 0, len(got))}
		for _, ev := range got {
			out := event{Rev: ev.Rev}
			if ev.Old != nil {
				e := given(table, ev.Old)
				out.Old = &e
			}
			if ev.New != nil {
				e := given(table, ev.New)
				out.New = &e
			}
			n.Events = append(n.Events, out)
		}
		if !yield(n) {
			return nil
		}
	}
}

func (d *dbDoor) Close() {}
