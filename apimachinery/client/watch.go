package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery"
)

// EventType is what happened to an object.
type EventType string

// The types of an [Event].
const (
	Added    EventType = "ADDED"
	Modified EventType = "MODIFIED"
	Deleted  EventType = "DELETED"
	// Bookmark says that everything up to the object's resourceVersion has been told; nothing else is set in it
	// but annotations.
	Bookmark EventType = "BOOKMARK"
)

const errorEvent EventType = "ERROR"

// Event is one change.
type Event[T apimachinery.Object] struct {
	Type EventType
	// Object is the object after the change, or as it was last for Deleted.
	Object T
}

// MaxEvent is the size in bytes of the largest event that a watch reads; a larger one ends it with an error.
const MaxEvent = 16 << 20

// Watcher yields the events of one watch. It is for one reader; Close may be called by anyone.
type Watcher[T apimachinery.Object] struct {
	r      Resource[T]
	name   string
	stream io.ReadCloser
	lines  lineReader
	cancel context.CancelFunc
}

// Watch begins a watch, which ends when ctx does, when the server ends it, or on Close.
func (r Resource[T]) Watch(ctx context.Context, opts ...Option) (*Watcher[T], error) {
	c, err := newCall(onWatch, opts)
	if err != nil {
		return nil, r.op(apimachinery.VerbWatch, "", "", "", err)
	}
	w, err := r.watch(ctx, c)
	return w, r.op(apimachinery.VerbWatch, c.namespace, "", "", err)
}

func (r Resource[T]) watch(ctx context.Context, c *call) (*Watcher[T], error) {
	if r.err != nil {
		return nil, r.err
	}
	q := r.request(ctx, apimachinery.VerbWatch, c.namespace, "", "", c)
	q.Options = c.listOptions(true)
	ctx, cancel := context.WithCancel(ctx)
	resp, err := r.c.do.Do(ctx, q)
	if err != nil {
		cancel()
		return nil, err
	}
	stream := resp.Stream
	if stream == nil {
		stream = io.NopCloser(bytes.NewReader(resp.Body))
	}
	return &Watcher[T]{r: r, name: c.namespace, stream: stream, lines: lineReader{from: stream, limit: MaxEvent}, cancel: cancel}, nil
}

// Next waits for the next event. It returns io.EOF when the server ended the watch in good order: begin another
// after the last resourceVersion seen. An error that the server sent is an APIStatus (apierrors.IsGone or
// IsResourceExpired: list anew). When ctx ends, so does the watch. After an error all further ones are errors too.
func (w *Watcher[T]) Next(ctx context.Context) (Event[T], error) {
	stop := context.AfterFunc(ctx, func() { w.Close() })
	defer stop()
	e, err := w.next()
	switch {
	case err == nil:
		return e, nil
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case errors.Is(err, io.EOF):
		w.Close()
		return e, io.EOF
	}
	w.Close()
	return e, w.r.op(apimachinery.VerbWatch, w.name, "", "", err)
}

func (w *Watcher[T]) next() (e Event[T], err error) {
	line, err := w.lines.next()
	if err != nil {
		return e, err
	}
	typ, object, err := splitEvent(line)
	if err != nil {
		return e, err
	}
	switch typ {
	case Added, Modified, Deleted, Bookmark:
		e.Type = typ
		e.Object, err = w.r.decode(object)
		return e, err
	case errorEvent:
		var s metav1.Status
		if err := apimachinery.DecodeLoose(object, &s); err != nil {
			return e, fmt.Errorf("decode an error: %w", err)
		}
		return e, apierrors.FromObject(&s)
	}
	return e, fmt.Errorf("the server sent an event of unknown type %q", typ)
}

// All yields events until the watch ends; the last pair may hold an error. An end in good order yields none.
// The watch is closed when the loop is left.
func (w *Watcher[T]) All(ctx context.Context) iter.Seq2[Event[T], error] {
	return func(yield func(Event[T], error) bool) {
		defer w.Close()
		for {
			e, err := w.Next(ctx)
			if errors.Is(err, io.EOF) {
				return
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// Close ends the watch. It may be called more than once, and wakes a Next that waits.
func (w *Watcher[T]) Close() error {
	w.cancel()
	return w.stream.Close()
}

// splitEvent takes an event apart. Servers send the type first, so that the object need not be scanned twice.
func splitEvent(line []byte) (EventType, []byte, error) {
	if rest, ok := bytes.CutPrefix(line, []byte(`{"type":"`)); ok {
		typ, object, ok := bytes.Cut(rest, []byte(`","object":`))
		if ok && len(object) > 1 && object[len(object)-1] == '}' && bytes.IndexByte(typ, '"') < 0 {
			return EventType(typ), object[:len(object)-1], nil
		}
	}
	var e struct {
		Type   EventType       `json:"type"`
		Object json.RawMessage `json:"object"`
	}
	if err := json.Unmarshal(line, &e); err != nil {
		return "", nil, fmt.Errorf("decode an event: %w", err)
	}
	return e.Type, e.Object, nil
}
