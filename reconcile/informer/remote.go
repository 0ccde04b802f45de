package informer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
)

// Config says what an informer of [New] holds, and how. The zero value holds everything.
type Config[T apimachinery.Object] struct {
	// Namespace, Labels and Fields select, as [client.InNamespace], [client.Labels] and [client.Fields] do.
	Namespace, Labels, Fields string
	// Transform may strip what nobody needs from each object before it is kept. nil: nothing.
	Transform func(T)
	// Page is how many objects are read at a time in the beginning. Default 500.
	Page int64
	// Stream asks the server to send the present state through the watch, which takes less memory on its side;
	// servers that can't are asked for lists.
	Stream bool
	// Pause is the longest time between tries to reach a server that fails; it begins with 50 ms. Default 30 s.
	Pause time.Duration
	// Log hears of lost watches and relists. nil: off.
	Log *slog.Logger
}

const (
	firstPause = 50 * time.Millisecond
	watchFor   = 5 * time.Minute // to twice that
)

// New returns an informer that lists and watches r, from whatever server its client speaks to.
func New[T apimachinery.Object](r client.Resource[T], c Config[T]) (*Informer[T], error) {
	if err := r.Err(); err != nil {
		return nil, fmt.Errorf("make an informer: %w", err)
	}
	if c.Page < 0 || c.Pause < 0 {
		return nil, errors.New("make an informer: Page and Pause must not be negative")
	}
	if c.Pause == 0 {
		c.Pause = 30 * time.Second
	}
	if c.Page == 0 {
		c.Page = 500
	}
	s := &remote[T]{r: r, Config: c}
	i := assemble(s, c.Log)
	s.Log = i.log.With("resource", r.Name().String())
	return i, nil
}

// remote is a source that lists and watches.
type remote[T apimachinery.Object] struct {
	r client.Resource[T]
	Config[T]
	pause time.Duration
	last  string // the resourceVersion up to which everything has been emitted; empty: list
	whole bool   // list without pages
}

func (s *remote[T]) run(ctx context.Context, emit func(step[T])) error {
	for ctx.Err() == nil {
		err := s.once(ctx, emit)
		switch {
		case ctx.Err() != nil || err == nil:
			continue
		case apierrors.IsGone(err), apierrors.IsResourceExpired(err):
			s.whole = s.last == ""
			s.Log.Info("list anew: the server has forgotten where the watch was", "version", s.last, "err", err)
			s.last = ""
		case apierrors.IsNotFound(err):
			s.Log.Warn("the server does not serve this resource, trying again", "err", err)
		default:
			s.Log.Warn("lost touch with the server, trying again", "err", err)
		}
		s.sleep(ctx)
	}
	return nil
}

// once lists if need be, and watches until the watch ends. An end in good order is no error.
func (s *remote[T]) once(ctx context.Context, emit func(step[T])) error {
	if s.last == "" && !s.Stream {
		if err := s.list(ctx, emit); err != nil {
			return err
		}
	}
	begun := time.Now()
	err := s.watch(ctx, emit)
	if s.Stream && s.last == "" && (apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.IsForbidden(err)) {
		s.Stream = false
		return nil
	}
	if time.Since(begun) > watchFor/5 {
		s.pause = 0
	}
	if err == nil && time.Since(begun) < time.Second {
		s.sleep(ctx)
	}
	return err
}

func (s *remote[T]) sleep(ctx context.Context) {
	s.pause = min(max(firstPause, 2*s.pause), s.Pause)
	t := time.NewTimer(s.pause/2 + rand.N(s.pause))
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

func (s *remote[T]) options(more ...client.Option) []client.Option {
	return append(more, client.InNamespace(s.Namespace), client.Labels(s.Labels), client.Fields(s.Fields))
}

func (s *remote[T]) list(ctx context.Context, emit func(step[T])) error {
	st, version := step[T]{whole: true}, ""
	if s.whole {
		l, err := s.r.List(ctx, s.options()...)
		if err != nil {
			return err
		}
		s.take(&st, l)
		version = l.ResourceVersion
	} else {
		for l, err := range s.r.Pages(ctx, s.options(client.Limit(s.Page))...) {
			if err != nil {
				return err
			}
			s.take(&st, l)
			version = l.ResourceVersion
		}
	}
	emit(st)
	s.last, s.whole = version, false
	return nil
}

func (s *remote[T]) take(st *step[T], l *client.List[T]) {
	for _, o := range l.Items {
		s.transform(o)
		st.updates = append(st.updates, held(o))
	}
	st.rev = RevOf(l.ResourceVersion)
}

func (s *remote[T]) transform(o T) {
	if s.Transform != nil {
		s.Transform(o)
	}
}

func (s *remote[T]) watch(ctx context.Context, emit func(step[T])) error {
	opts := []client.Option{client.Bookmarks(), client.Timeout(watchFor + rand.N(watchFor))}
	var initial *step[T]
	if s.last == "" {
		initial = &step[T]{whole: true}
		opts = append(opts, client.InitialEvents())
	} else {
		opts = append(opts, client.Since(s.last))
	}
	w, err := s.r.Watch(ctx, s.options(opts...)...)
	if err != nil {
		return err
	}
	defer w.Close()
	for {
		e, err := w.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if initial = s.event(e, initial, emit); initial == nil {
			s.pause = 0
		}
	}
}

// event handles one event; initial gathers the present state until its end has been marked.
func (s *remote[T]) event(e client.Event[T], initial *step[T], emit func(step[T])) *step[T] {
	st := step[T]{rev: RevOf(e.Object.GetResourceVersion())}
	switch e.Type {
	case client.Bookmark:
	case client.Deleted:
		st.updates = []update[T]{{key: apimachinery.KeyOf(e.Object)}}
	default:
		s.transform(e.Object)
		st.updates = []update[T]{held(e.Object)}
	}
	if initial != nil {
		initial.updates = append(initial.updates, st.updates...)
		if e.Type != client.Bookmark || e.Object.GetAnnotations()[metav1.InitialEventsAnnotationKey] != "true" {
			return initial
		}
		st.whole, st.updates = true, initial.updates
	}
	s.last = e.Object.GetResourceVersion()
	emit(st)
	return nil
}
