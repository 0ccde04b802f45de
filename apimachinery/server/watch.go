package server

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kwatch "k8s.io/apimachinery/pkg/watch"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/server/table"
	"github.com/bedplate/bedplate/apimachinery/wire"
	"github.com/bedplate/bedplate/storage"
)

func (c *call) watch(ctx context.Context) (*apimachinery.Response, error) {
	o := listOptions(c.r)
	if err := invalidOptions("ListOptions", validateWatch(&o)); err != nil {
		return nil, err
	}
	if legacy := o.ResourceVersion == "" || o.ResourceVersion == "0"; legacy && o.SendInitialEvents == nil {
		o.SendInitialEvents = &legacy
	}
	sel, err := c.selection(&o)
	if err != nil {
		return nil, err
	}
	w := &watchStream{counts: c.s.metrics.watch(c.v), c: c, selected: sel, options: o, initialEnd: o.SendInitialEvents != nil && *o.SendInitialEvents}
	if c.form.As.Kind == wire.AsTable {
		if w.table, err = c.tableOptions(); err != nil {
			return nil, err
		}
		if w.render, err = c.v.renderer(); err != nil {
			return nil, err
		}
	}
	if err := w.begin(ctx); err != nil {
		return nil, err
	}
	w.forget = c.s.countWatch(c.r)
	return &apimachinery.Response{Code: 200, ContentType: c.streamType(), Stream: w}, nil
}

func validateWatch(o *metav1.ListOptions) field.ErrorList {
	var errs field.ErrorList
	match, path := o.ResourceVersionMatch, field.NewPath("resourceVersionMatch")
	if o.SendInitialEvents != nil && match != metav1.ResourceVersionMatchNotOlderThan {
		errs = append(errs, field.Forbidden(path, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"))
	}
	if match == "" {
		return errs
	}
	if o.SendInitialEvents == nil {
		errs = append(errs, field.Forbidden(path, "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"))
	}
	if match != metav1.ResourceVersionMatchNotOlderThan {
		errs = append(errs, field.NotSupported(path, match, []string{string(metav1.ResourceVersionMatchNotOlderThan)}))
	}
	if o.Continue != "" {
		errs = append(errs, field.Forbidden(path, "resourceVersionMatch is forbidden when continue is provided"))
	}
	return errs
}

// watchStream is a watch as bytes: one JSON document a line. One goroutine reads it; Close may come from any.
type watchStream struct {
	c       *call
	counts  *watchCounts
	options metav1.ListOptions
	*selected
	w *storage.Watcher

	ctx    context.Context // ends with the request, Close, the time limit or the server's end
	cancel context.CancelFunc
	unlink func() bool // from the server's end
	closed sync.Once
	until  time.Time
	tick   context.Context // ends when a bookmark is due
	untick context.CancelFunc

	initial    *storage.Snapshot // what is there already, as far as it has not been sent
	from       string
	initialEnd bool            // a bookmark ends the initial events
	pending    []storage.Event // what the table has told and the buffer had no room for
	told       int64
	buf        []byte
	off        int
	err        error // what ends the stream once buf is sent

	render  *table.Renderer // set for tables
	table   table.Options
	scratch []byte

	begun  func() // called, if set, when all that was there is sent
	forget func() // counts the watch out
}

// begin finds where the watch starts. An error of the storage becomes an event, as the answer is a stream.
func (w *watchStream) begin(ctx context.Context) error {
	o := &w.options
	rev, err := parseVersion(o.ResourceVersion)
	if err != nil {
		return err
	}
	w.limit(ctx)
	initial := o.SendInitialEvents != nil && *o.SendInitialEvents
	snap, err := w.c.k.table.Snapshot(ctx, atLeast(o.ResourceVersion, rev), false) // a revision to come is waited for
	if err == nil && initial {
		err = w.c.unreadable(w.selected, snap, "", "")
	}
	if err != nil {
		w.unlink()
		w.cancel()
		return err
	}
	since := rev
	if initial || rev == 0 {
		since = snap.Rev()
	}
	if initial {
		w.initial = snap
	}
	w.told = since
	if w.w, err = w.c.k.table.Watch(since, w.filter); err != nil {
		w.fail(err)
	}
	return nil
}

// limit sets when the watch ends by itself and for whom.
func (w *watchStream) limit(ctx context.Context) {
	d := w.c.s.c.Limits.Watch
	d += rand.N(d)
	if t := w.options.TimeoutSeconds; t != nil && *t > 0 {
		d = time.Duration(min(*t, 1<<31)) * time.Second
	}
	w.until = time.Now().Add(d)
	w.ctx, w.cancel = context.WithDeadline(ctx, w.until)
	w.unlink = context.AfterFunc(w.c.k.life, w.cancel)
}

// fail ends the stream with an ERROR event.
func (w *watchStream) fail(err error) {
	err = storageError(w.c.v.gr, "", err)
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		w.c.s.c.Log.Warn("watch ended in an error", "resource", w.c.v.gr.String(), "err", err)
	}
	if err := w.other(kwatch.Error, wire.StatusOf(err)); err != nil {
		w.c.s.c.Log.Error("the end of a watch could not be told", "resource", w.c.v.gr.String(), "err", err)
	}
	w.err = io.EOF
}

// next fills the buffer with at least one event, waiting for it.
func (w *watchStream) next() error {
	if w.off < len(w.buf) {
		return nil
	}
	w.buf, w.off = w.buf[:0], 0
	for len(w.buf) == 0 {
		if w.err != nil {
			return w.err
		}
		if w.ctx.Err() != nil {
			return w.over()
		}
		switch {
		case w.initial != nil:
			w.sendInitial()
		case len(w.pending) > 0:
			w.send()
		default:
			w.wait()
		}
	}
	return nil
}

// over ends the stream when its time is up; at the limit, a last bookmark says how far it came.
func (w *watchStream) over() error {
	w.err = io.EOF
	if errors.Is(w.ctx.Err(), context.DeadlineExceeded) && w.options.AllowWatchBookmarks && w.w != nil && len(w.pending) == 0 && w.initial == nil {
		if rev := w.w.Rev(); rev > w.told {
			w.bookmark(rev, false)
			return nil
		}
	}
	return w.err
}

func (w *watchStream) sendInitial() {
	for e := range w.entries(w.initial, w.from) {
		w.event(kwatch.Added, e, e.Rev)
		if w.from = e.Key + "\x00"; len(w.buf) >= w.c.s.c.Limits.Buffer || w.err != nil {
			return
		}
	}
	if w.initialEnd && w.options.AllowWatchBookmarks {
		w.bookmark(w.initial.Rev(), true)
	}
	w.initial, w.from = nil, ""
	if w.begun != nil {
		w.begun()
	}
}

// wait takes the next events of the table, or sends a bookmark when one is due.
func (w *watchStream) wait() {
	if w.tick == nil {
		d := w.c.s.c.Limits.Bookmark
		w.tick, w.untick = context.WithTimeout(w.ctx, d-d/10+rand.N(d/5+1))
	}
	events, err := w.w.Next(w.tick)
	switch {
	case err == nil:
		w.pending = events
	case w.tick.Err() != nil:
		w.untick()
		w.tick = nil
		if rev := w.w.Rev(); w.ctx.Err() == nil && w.options.AllowWatchBookmarks && rev > w.told {
			w.bookmark(rev, false)
		}
	case errors.Is(err, storage.ErrClosed):
		w.err = io.EOF
	default:
		w.fail(err)
	}
}

// send appends pending events until the buffer is full.
func (w *watchStream) send() {
	for len(w.pending) > 0 && w.err == nil && len(w.buf) < w.c.s.c.Limits.Buffer {
		ev := w.pending[0]
		w.pending = w.pending[1:]
		e, typ := ev.New, kwatch.Modified
		switch {
		case ev.New == nil && ev.Old == nil:
			continue
		case ev.Corrupt != nil: // it is not gone
			w.fail(ev.Corrupt)
			return
		case ev.New == nil:
			e, typ = ev.Old, kwatch.Deleted
		case ev.Old == nil:
			typ = kwatch.Added
		}
		if w.keep == nil || w.keep(e) {
			w.event(typ, e, ev.Rev)
			w.told = ev.Rev
		}
	}
}

// event appends one event. A deleted object carries the revision of its deletion.
func (w *watchStream) event(typ kwatch.EventType, e *storage.Entry, rev int64) {
	mark := len(w.buf)
	if err := w.object(typ, e, rev); err != nil {
		w.buf = w.buf[:mark]
		w.fail(err)
		return
	}
	w.counts.event(len(w.buf) - mark)
}

func (w *watchStream) object(typ kwatch.EventType, e *storage.Entry, rev int64) error {
	if w.c.inProtobuf() {
		m, err := w.c.message(e)
		if err == nil {
			w.message(typ, m, rev)
		}
		return err
	}
	w.buf = append(append(append(w.buf, `{"type":"`...), typ...), `","object":`...)
	if w.render != nil {
		if err := w.row(e, rev); err != nil {
			return err
		}
	} else {
		f, err := w.c.shape(e)
		if err != nil {
			return err
		}
		w.buf = f.appendTo(w.buf, rev)
	}
	w.buf = append(w.buf, "}\n"...)
	return nil
}

// row appends a table of one row; only the first of a watch describes the columns.
func (w *watchStream) row(e *storage.Entry, rev int64) (err error) {
	meta := metav1.ListMeta{ResourceVersion: strconv.FormatInt(rev, 10)}
	if w.buf, err = w.render.AppendHead(w.buf, meta, w.table); err != nil {
		return err
	}
	w.table.NoHeaders = true
	if w.buf, w.scratch, err = w.c.appendRow(w.buf, w.scratch, w.render, e, rev, w.table); err != nil {
		return err
	}
	w.buf = append(w.buf, table.Tail...)
	return nil
}

// bookmark appends an event that tells of progress alone, or of the end of the initial events.
func (w *watchStream) bookmark(rev int64, initialEnd bool) {
	mark, err := len(w.buf), error(nil)
	if w.render != nil {
		err = w.progressRow(rev, initialEnd)
	} else {
		err = w.other(kwatch.Bookmark, w.progress(rev, initialEnd))
	}
	if err != nil {
		w.buf = w.buf[:mark]
		w.fail(err)
		return
	}
	w.told = rev
}

// Read implements io.Reader.
func (w *watchStream) Read(p []byte) (int, error) {
	if err := w.next(); err != nil {
		return 0, err
	}
	n := copy(p, w.buf[w.off:])
	w.off += n
	return n, nil
}

// WriteTo implements io.WriterTo: whatever has happened meanwhile goes out in one write. A client that takes
// nothing for as long as the time limit of other requests is cut off.
func (w *watchStream) WriteTo(to io.Writer) (int64, error) {
	cut := newCutter(to, w.c.s.c.Limits.Timeout)
	defer cut.stop()
	total := int64(0)
	for {
		if err := w.next(); err == io.EOF {
			return total, nil
		} else if err != nil {
			return total, err
		}
		cut.arm()
		n, err := to.Write(w.buf[w.off:])
		cut.stop()
		total += int64(n)
		w.off += n
		if err != nil {
			return total, err
		}
		if cap(w.buf) > 4*w.c.s.c.Limits.Buffer {
			w.buf, w.off = nil, 0
		}
	}
}

// Close implements io.Closer.
func (w *watchStream) Close() error {
	w.closed.Do(func() {
		w.unlink()
		w.cancel()
		if w.w != nil {
			w.w.Close()
		}
		w.forget()
		if w.begun != nil {
			w.begun()
		}
	})
	return nil
}
