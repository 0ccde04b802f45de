package storagesuite

import (
	"context"
	"errors"
	"net/http"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/util/flowcontrol"

	bed "github.com/bedplate/bedplate/storage"
)

// watching is a watch.Interface over a Watcher.
type watching struct {
	a       *Adapter
	ctx     context.Context
	cancel  context.CancelFunc
	results chan watch.Event
	key     string
	opts    storage.ListOptions
}

// resultBuffer is how many events wait for the reader, as many as in an API server.
const resultBuffer = 100

// Watch implements storage.Interface.
func (a *Adapter) Watch(ctx context.Context, key string, opts storage.ListOptions) (watch.Interface, error) {
	key, err := a.key(key, opts.Recursive)
	if err != nil {
		return nil, err
	}
	since, err := a.versioner.ParseResourceVersion(opts.ResourceVersion)
	if err != nil {
		return nil, err
	}
	initial := since == 0 && opts.SendInitialEvents == nil || opts.SendInitialEvents != nil && *opts.SendInitialEvents
	if since == 0 && !initial {
		if since, err = a.GetCurrentResourceVersion(ctx); err != nil {
			return nil, err
		}
	}
	w := &watching{a: a, results: make(chan watch.Event, resultBuffer), key: key, opts: opts}
	w.ctx, w.cancel = context.WithCancel(ctx)
	go w.run(int64(since), initial)
	flowcontrol.WatchInitialized(ctx)
	return w, nil
}

// Stop implements watch.Interface.
func (w *watching) Stop() { w.cancel() }

// ResultChan implements watch.Interface.
func (w *watching) ResultChan() <-chan watch.Event { return w.results }

func (w *watching) run(since int64, initial bool) {
	defer close(w.results)
	defer w.cancel()
	table := w.a.table.Load()
	err := w.follow(table, since, initial)
	if err != nil && w.ctx.Err() == nil {
		w.send(watch.Error, status(err))
	}
}

func (w *watching) follow(table *bed.Table, since int64, initial bool) (err error) {
	if initial {
		if since, err = w.list(table); err != nil {
			return err
		}
	}
	from, err := table.Watch(since, w.a.filter(w.key, w.opts))
	if err != nil {
		return err
	}
	defer from.Close()
	for marked := since; ; {
		if err := w.events(from); err != nil {
			return err
		}
		if rev := from.Rev(); w.opts.Predicate.AllowWatchBookmarks && rev > marked {
			if err := w.bookmark(w.a.c.New(), rev); err != nil {
				return err
			}
			marked = rev
		}
	}
}

// bookmarkEvery is how often a watch that allows bookmarks says how far it is.
const bookmarkEvery = time.Second

// events sends what comes until it is time for a bookmark.
func (w *watching) events(from *bed.Watcher) error {
	ctx, cancel := context.WithTimeout(w.ctx, bookmarkEvery)
	defer cancel()
	for ctx.Err() == nil {
		events, err := from.Next(ctx)
		if err != nil && (ctx.Err() == nil || w.ctx.Err() != nil) {
			return err
		}
		for _, ev := range events {
			if err := w.event(ev); err != nil {
				return err
			}
		}
	}
	return w.ctx.Err()
}

// list sends what is there and returns the revision to go on from.
func (w *watching) list(table *bed.Table) (int64, error) {
	at, err := w.a.revision(w.opts.ResourceVersion)
	if err != nil {
		return 0, err
	}
	snap, err := table.Snapshot(w.ctx, at, false)
	if err != nil {
		return 0, w.a.failed(w.key, at, err)
	}
	for e := range snap.All(w.a.filter(w.key, w.opts), "") {
		if err := w.event(bed.Event{New: e, Rev: e.Rev}); err != nil {
			return 0, err
		}
	}
	if w.opts.SendInitialEvents == nil || !w.opts.Predicate.AllowWatchBookmarks {
		return snap.Rev(), nil
	}
	mark := w.a.c.New()
	if err := storage.AnnotateInitialEventsEndBookmark(mark); err != nil {
		return 0, err
	}
	return snap.Rev(), w.bookmark(mark, snap.Rev())
}

func (w *watching) bookmark(obj runtime.Object, rev int64) error {
	if err := w.a.versioner.UpdateObject(obj, uint64(rev)); err != nil {
		return err
	}
	return w.send(watch.Bookmark, obj)
}

func (w *watching) event(ev bed.Event) error {
	typ, e := watch.Modified, ev.New
	switch {
	case ev.Old == nil && ev.New == nil:
		return w.bookmark(w.a.c.New(), ev.Rev)
	case ev.Old == nil:
		typ = watch.Added
	case ev.New == nil:
		typ, e = watch.Deleted, ev.Old
	}
	if !w.opts.Recursive && e.Key != w.key { // a filter has no word for the key that the prefix itself is
		return nil
	}
	obj := w.a.c.New()
	if _, err := w.a.decode(w.ctx, e.Key, e.Raw, ev.Rev, obj); err != nil {
		if typ == watch.Deleted {
			return &unreadableDeleted{err}
		}
		return err
	}
	return w.send(typ, obj)
}

func (w *watching) send(typ watch.EventType, obj runtime.Object) error {
	select {
	case w.results <- watch.Event{Type: typ, Object: obj}:
		return nil
	case <-w.ctx.Done():
		return w.ctx.Err()
	}
}

// unreadableDeleted is an object that can't be read and was deleted all the same.
type unreadableDeleted struct{ err error }

func (e *unreadableDeleted) Error() string {
	return "saw a DELETED event, but object data is corrupt - " + e.err.Error()
}

func status(err error) *metav1.Status {
	if errors.Is(err, bed.ErrTooOld) {
		err = apierrors.NewResourceExpired("The resourceVersion for the provided watch is too old.")
	}
	if known, ok := errors.AsType[*apierrors.StatusError](err); ok {
		return &known.ErrStatus
	}
	s := apierrors.NewInternalError(err).Status()
	if _, ok := errors.AsType[*unreadableDeleted](err); ok {
		s = metav1.Status{Status: metav1.StatusFailure, Code: http.StatusInternalServerError,
			Reason: metav1.StatusReasonStoreReadError, Message: err.Error()}
	}
	return &s
}
