package storage

import (
	"context"
	"sync"
	"sync/atomic"
)

// Watcher hands out the changes of a table, each once, in order. One goroutine calls Next; Rev and Close
// may be called from anywhere.
type Watcher struct {
	t      *Table
	f      Filter
	since  int64
	once   sync.Once
	closed chan struct{}

	bucket atomic.Pointer[bucket] // what it waits for; nil: any change, or not placed, or closed

	alarm chan struct{} // holds one: woken by sleepers
	bed   int           // its place among them; -1: awake. Guarded by their mu

	placed atomic.Bool   // the cursor is set
	cursor atomic.Uint64 // the number of the next event to look at
	rev    atomic.Int64  // everything up to and including it has been handed out
	told   int64         // the revision of the last bookmark or event
	ended  bool          // Next returned its last error
}

// Watch returns a watcher of the changes after revision since; 0: after the revision the cache is at now.
// A revision that has not happened yet is waited for. Events that are not handed out stay in the table's
// window; a watcher costs a cursor, however slow it is. Where the filter names a value (see Filter), the table also
// keeps a list of the events of the window that have it, for all its watchers, until the last of them is closed.
// Such a watcher falls behind the window only if an event of that list does.
//
// It returns a *TooOldError, with the oldest revision possible, when since lies before the window, and
// ErrClosed. If the table is not loaded yet, loading begins and these errors come from the first Next.
func (t *Table) Watch(since int64, f Filter) (*Watcher, error) {
	w := &Watcher{t: t, f: f, since: since, closed: make(chan struct{}), alarm: make(chan struct{}, 1), bed: -1}
	if since == 0 {
		w.since = max(t.Rev(), t.db.applied.Load())
	}
	w.rev.Store(w.since)
	if t.isGone() {
		return nil, &tableError{"watch", t.schema.Prefix, ErrClosed}
	}
	var err error
	if st := t.state.Load(); st != nil {
		err = w.place(st)
	} else {
		err = t.want()
	}
	if err != nil {
		return nil, &tableError{"watch", t.schema.Prefix, err}
	}
	return w, nil
}

// place sets the cursor to the first event to hand out.
func (w *Watcher) place(st *state) error {
	if w.since == 0 { // asked before the first revision was known
		w.since = st.start
	}
	if w.since < st.start {
		return &TooOldError{Rev: w.since, Oldest: st.start}
	}
	if term, ok := w.f.term(); ok {
		w.bucket.Store(w.t.buckets.join(term))
	}
	w.cursor.Store(st.after(w.since))
	w.rev.Store(w.since)
	w.told = w.since
	w.placed.Store(true)
	if w.isClosed() { // meanwhile
		w.leave()
	}
	return nil
}

// leave gives up the bucket. What it says from then on is of no account.
func (w *Watcher) leave() {
	if k := w.bucket.Swap(nil); k != nil {
		w.t.buckets.leave(k)
	}
}

// listed returns the bucket whose list has all that the watcher still has to look at; nil if that is the window.
func (w *Watcher) listed() *bucket {
	if k := w.bucket.Load(); k != nil && w.cursor.Load() >= k.since {
		return k
	}
	return nil
}

// Next returns the next events, one or many, of one revision or several, waiting for the first; those of one revision
// come together. The slice
// and the events are shared: read only. When ctx ends, its error is returned and Next may be called again.
//
// A watcher that the window has left behind gets a *TooOldError, once; afterwards, and after Close, Drop or
// the end of Run, Next returns ErrClosed.
func (w *Watcher) Next(ctx context.Context) ([]Event, error) {
	evs, err := w.next(ctx)
	if err != nil {
		return nil, &tableError{"watch", w.t.schema.Prefix, err}
	}
	return evs, nil
}

func (w *Watcher) next(ctx context.Context) ([]Event, error) {
	for {
		if w.ended || w.isClosed() {
			return nil, ErrClosed
		}
		st := w.t.state.Load()
		evs, err := w.look(st)
		if err != nil {
			w.ended = true
			w.leave()
		}
		if err != nil || len(evs) > 0 {
			return evs, err
		}
		if err := w.wait(ctx, st); err != nil {
			return nil, err
		}
	}
}

func (w *Watcher) isClosed() bool {
	select {
	case <-w.closed:
		return true
	default:
		return w.t.isGone()
	}
}

// look returns what there is to hand out in a state, without waiting.
func (w *Watcher) look(st *state) ([]Event, error) {
	if st == nil {
		return nil, nil
	}
	if !w.placed.Load() {
		if err := w.place(st); err != nil {
			return nil, err
		}
	}
	evs, err := w.take(st)
	if err != nil || len(evs) > 0 || !w.f.Bookmarks {
		return evs, err
	}
	if rev := w.Rev(); rev > w.told {
		w.told = rev
		return []Event{{Rev: rev}}, nil
	}
	return nil, nil
}

// take moves the cursor on to events that the filter selects, or to the end.
func (w *Watcher) take(st *state) ([]Event, error) {
	for {
		if k := w.listed(); k != nil {
			return w.takeListed(st, k)
		}
		cursor := w.cursor.Load()
		if cursor < st.first() {
			return nil, &TooOldError{Oldest: st.start}
		}
		evs := st.from(cursor)
		if len(evs) == 0 {
			return nil, nil
		}
		selected := w.selectFrom(evs)
		w.move(cursor+uint64(len(evs)), evs[len(evs)-1].Rev)
		if len(selected) > 0 {
			w.told = max(selected[len(selected)-1].Rev, w.told)
			return selected, nil
		}
	}
}

// takeListed is take for a watcher that needs to look at the events of its bucket alone.
func (w *Watcher) takeListed(st *state, k *bucket) ([]Event, error) {
	numbers, ok := k.from(w.cursor.Load(), st.end)
	if !ok {
		return nil, &TooOldError{Oldest: st.start}
	}
	var selected []Event
	for _, n := range numbers {
		ev := st.from(n)[0]
		if last := len(selected) - 1; last >= chunkMax && selected[last].Rev != ev.Rev {
			w.move(n, selected[last].Rev)
			w.told = max(selected[last].Rev, w.told)
			return selected, nil
		}
		if ev, ok := w.f.event(ev); ok && ev.Rev > w.since {
			selected = append(selected, ev)
		}
	}
	w.move(max(st.end, w.cursor.Load()), st.rev)
	if last := len(selected) - 1; last >= 0 {
		w.told = max(selected[last].Rev, w.told)
	}
	return selected, nil
}

// move sets the cursor, before which everything up to and including rev lies.
func (w *Watcher) move(cursor uint64, rev int64) {
	w.reach(rev)
	w.cursor.Store(cursor)
}

// reach raises the revision up to which everything has been handed out.
func (w *Watcher) reach(rev int64) {
	for have := w.rev.Load(); rev > have && !w.rev.CompareAndSwap(have, rev); {
		have = w.rev.Load()
	}
}

func (w *Watcher) selectFrom(evs []Event) []Event {
	for len(evs) > 0 && evs[0].Rev <= w.since { // since had not happened yet
		evs = evs[1:]
	}
	if w.f.all() {
		return evs
	}
	var selected []Event
	for _, ev := range evs {
		if ev, ok := w.f.event(ev); ok {
			selected = append(selected, ev)
		}
	}
	return selected
}

// event is what the filter makes of an event: one that moves an object in adds it, one that moves it out
// deletes it.
func (f *Filter) event(ev Event) (Event, bool) {
	if !f.Match(ev.Old) {
		ev.Old = nil
	}
	if !f.Match(ev.New) {
		ev.New = nil
	}
	return ev, ev.Old != nil || ev.New != nil
}

// wait returns when there may be something new since st.
func (w *Watcher) wait(ctx context.Context, st *state) error {
	if st != nil && !w.f.Bookmarks && w.bucket.Load() == nil && !w.f.all() {
		return w.sleep(ctx)
	}
	k := w.listed()
	changed := &w.t.changed
	if k != nil {
		changed = &k.signal
	}
	fired := changed.wait()
	var moved <-chan struct{}
	if w.f.Bookmarks && st != nil {
		moved = w.t.db.moved.wait()
		if w.Rev() > w.told {
			return nil
		}
	}
	if w.changedSince(st, k) {
		return nil
	}
	return w.until(ctx, fired, moved)
}

// sleep lets those who publish look for what there is for the watcher.
func (w *Watcher) sleep(ctx context.Context) error {
	if !w.t.sleepers.enter(w) {
		return nil
	}
	defer w.t.sleepers.exit(w)
	return w.until(ctx, w.alarm, nil)
}

func (w *Watcher) until(ctx context.Context, fired, moved <-chan struct{}) error {
	select {
	case <-fired:
	case <-moved:
	case <-w.closed:
	case <-w.t.gone:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

func (w *Watcher) changedSince(st *state, k *bucket) bool {
	now := w.t.state.Load()
	if k == nil {
		return now != st
	}
	numbers, ok := k.from(w.cursor.Load(), now.end)
	return !ok || len(numbers) > 0
}

// Rev is the revision up to which everything selected has been handed out, or is being returned by Next: where a watcher that takes over
// goes on, and what a bookmark says. It moves with the DB even when the table does not change, and never goes
// back. Once the watcher is closed it stays.
func (w *Watcher) Rev() int64 {
	applied := w.t.db.applied.Load() // before the state, which then holds all of it
	st := w.t.state.Load()
	if st == nil || !w.placed.Load() {
		return w.rev.Load()
	}
	next, ok := w.cursor.Load(), true
	if k := w.listed(); k != nil {
		var numbers []uint64
		if numbers, ok = k.from(next, st.end); ok && len(numbers) > 0 {
			next = numbers[0]
		} else if ok {
			next = st.end
		}
	}
	switch {
	case !ok || next < st.first() || w.isClosed():
	case next >= st.end:
		w.reach(applied)
	default:
		w.reach(st.from(next)[0].Rev - 1)
	}
	return w.rev.Load()
}

// Close ends the watcher. Closing twice does nothing. A watcher that is not closed may leave a list behind.
func (w *Watcher) Close() {
	w.once.Do(func() {
		w.Rev()
		close(w.closed)
		w.leave()
	})
}
