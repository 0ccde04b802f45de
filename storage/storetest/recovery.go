package storetest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"

	"github.com/bedplate/bedplate/storage"
)

var recoveryTests = []test{
	{"BrokenWatch", testBrokenWatch},
	{"CompactedWatch", testCompactedWatch},
	{"CompactedBeforeLoad", testCompactedBeforeLoad},
	{"FailingLoad", testFailingLoad},
	{"WentBack", testWentBack},
}

// faulty is a backend whose watch can be cut and held, and whose reads can be made to fail.
type faulty struct {
	storage.Backend
	mu     sync.Mutex
	cut    chan struct{} // closed: running watches break
	hold   chan struct{} // not nil: watches wait for it to be closed before they begin
	failed int           // so many reads fail
	back   int64         // revisions are told lower by it
}

var errCut = errors.New("the connection was cut")

func newFaulty(b storage.Backend) *faulty { return &faulty{Backend: b, cut: make(chan struct{})} }

// Watch implements storage.Backend.
func (f *faulty) Watch(ctx context.Context, prefix string, after int64) iter.Seq2[storage.Batch, error] {
	return func(yield func(storage.Batch, error) bool) {
		f.mu.Lock()
		cut, hold := f.cut, f.hold
		f.mu.Unlock()
		if hold != nil {
			select {
			case <-hold:
			case <-ctx.Done():
			}
		}
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		go func() {
			select {
			case <-cut:
				cancel(errCut)
			case <-ctx.Done():
			}
		}()
		for b, err := range f.Backend.Watch(ctx, prefix, after) {
			if errors.Is(context.Cause(ctx), errCut) {
				yield(storage.Batch{}, errCut)
				return
			}
			if !yield(b, err) {
				return
			}
		}
	}
}

// Range implements storage.Backend.
func (f *faulty) Range(ctx context.Context, r storage.Range) (storage.Page, error) {
	f.mu.Lock()
	fail := f.failed > 0
	if fail {
		f.failed--
	}
	f.mu.Unlock()
	if fail {
		return storage.Page{}, errCut
	}
	return f.Backend.Range(ctx, r)
}

// Revision implements storage.Backend.
func (f *faulty) Revision(ctx context.Context) (int64, error) {
	rev, err := f.Backend.Revision(ctx)
	f.mu.Lock()
	defer f.mu.Unlock()
	return rev - f.back, err
}

// breakWatch cuts the running watch; the next one waits for what is returned to be called.
func (f *faulty) breakWatch() (release func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	hold := make(chan struct{})
	f.hold = hold
	close(f.cut)
	f.cut = make(chan struct{})
	return func() { close(hold) }
}

func testBrokenWatch(e *env) {
	f := newFaulty(e.b)
	db := e.dbOn(f, storage.Config{})
	t := e.pods(db)
	w := e.watch(t, 1, storage.Filter{})
	var want []string
	for round := range 5 {
		release := f.breakWatch()
		for i := range 20 {
			key := fmt.Sprintf("%d-%d", round, i)
			rev := e.put("/registry/pods/"+key, "x")
			want = append(want, fmt.Sprintf("+%s=x@%d", key, rev))
		}
		release()
		got, err := t.Get(e.ctx, fmt.Sprintf("%d-19", round), 0)
		e.NoError(err)
		e.Equal("x", string(got.Raw))
	}
	e.Equal(want, e.events(w, len(want)))
}

// testCompactedWatch compacts away what the DB has still to see: its tables are read anew, at one revision,
// and watchers are told.
func testCompactedWatch(e *env) {
	c, ok := e.b.(Compacter)
	if !ok {
		return
	}
	f := newFaulty(e.b)
	db := e.dbOn(f, storage.Config{})
	a, b := e.table(db, tagged("/registry/a/")), e.table(db, storage.Schema{Prefix: "/registry/b/"})
	e.put("/registry/a/stays", "1")
	e.put("/registry/a/goes", "1")
	before, err := a.Snapshot(e.ctx, 0, false)
	e.NoError(err)
	e.Equal([]string{"goes=1@3", "stays=1@2"}, byIndex(e.T, a, before, "second", "-"))
	w := e.watch(a, 1, storage.Filter{})
	idle := e.watch(a, before.Rev(), storage.Filter{})
	e.events(w, 2)
	_, err = b.Snapshot(e.ctx, 0, false)
	e.NoError(err)

	release := f.breakWatch()
	e.del("/registry/a/goes")
	var rev int64
	for i := range 20 {
		rev = e.raw(storage.Txn{Then: []storage.Op{
			{Key: "/registry/a/new", Value: fmt.Append(nil, i)}, {Key: "/registry/b/new", Value: fmt.Append(nil, i)},
		}})
	}
	e.NoError(c.Compact(e.ctx, rev))
	release()

	got, err := a.Get(e.ctx, "new", 0)
	e.NoError(err)
	e.Equal("19", string(got.Raw))
	after, err := a.Snapshot(e.ctx, 0, false)
	e.NoError(err)
	e.GreaterOrEqual(after.Rev(), rev)
	e.Equal([]string{fmt.Sprintf("new=19@%d", rev), "stays=1@2"}, contents(after, storage.Filter{}))
	e.Equal(contents(after, storage.Filter{}), byIndex(e.T, a, after, "second", "-"), "an index is made anew")
	old, _ := before.Get("stays")
	kept, _ := after.Get("stays")
	e.Same(old, kept, "what did not change is the same entry")
	sb, err := b.Snapshot(e.ctx, after.Rev(), true)
	e.NoError(err)
	e.Equal([]string{fmt.Sprintf("new=19@%d", rev)}, contents(sb, storage.Filter{}))
	for _, w := range []*storage.Watcher{w, idle} {
		_, err = w.Next(e.ctx)
		e.ErrorIs(err, storage.ErrTooOld, "a watcher cannot cross the gap")
	}
	again := e.watch(a, after.Rev(), storage.Filter{})
	e.put("/registry/a/more", "1")
	e.Equal([]string{fmt.Sprintf("+more=1@%d", rev+1)}, e.events(again, 1))
	_, err = a.Watch(before.Rev(), storage.Filter{})
	e.ErrorIs(err, storage.ErrTooOld)
}

// testCompactedBeforeLoad compacts away the revision at which a table would be loaded.
func testCompactedBeforeLoad(e *env) {
	c, ok := e.b.(Compacter)
	if !ok {
		return
	}
	db := e.db(storage.Config{})
	t := e.pods(db)
	var rev int64
	for i := range 20 {
		rev = e.put("/registry/pods/a", fmt.Sprint(i))
	}
	e.NoError(db.WaitFor(e.ctx, rev))
	e.NoError(c.Compact(e.ctx, rev))
	got, err := t.Get(e.ctx, "a", 0)
	e.NoError(err)
	e.Equal("19", string(got.Raw))
	_, err = t.Watch(rev-1, storage.Filter{})
	e.ErrorIs(err, storage.ErrTooOld)
	w := e.watch(t, rev, storage.Filter{})
	e.put("/registry/pods/b", "1")
	e.Equal([]string{fmt.Sprintf("+b=1@%d", rev+1)}, e.events(w, 1))
}

func testFailingLoad(e *env) {
	e.put("/registry/pods/a", "1")
	f := newFaulty(e.b)
	f.failed = 3
	db := e.dbOn(f, storage.Config{})
	got, err := e.pods(db).Get(e.ctx, "a", 0)
	e.NoError(err)
	e.Equal("1", string(got.Raw))
}

// testWentBack takes a store away and puts an older one in its place: going on would be wrong.
func testWentBack(e *env) {
	e.put("/registry/pods/a", "1")
	e.put("/registry/pods/a", "2")
	f := newFaulty(e.b)
	db, err := storage.New(f, storage.Config{})
	e.NoError(err)
	ended := make(chan error, 1)
	go func() { ended <- db.Run(e.ctx) }()
	<-db.Ready()
	f.mu.Lock()
	f.back = 1
	f.mu.Unlock()
	f.breakWatch()()
	e.ErrorContains(<-ended, "went back")
}
