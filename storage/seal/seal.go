package seal

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/bedplate/bedplate/storage"
)

// Config configures a Sealed.
type Config struct {
	// Rules say which keys are sealed by which providers. None: all is Identity's.
	Rules []Rule
	// Log hears of a key that is wearing out. Nil: off.
	Log *slog.Logger
}

// Sealed seals what a backend stores. All methods may be called concurrently.
type Sealed struct {
	inner storage.Backend
	log   *slog.Logger
	rules atomic.Pointer[rules]

	mu      sync.Mutex
	old     []*rules // with commits under way
	watches map[*watch]struct{}
	owed    bool // the next watch is told to read anew
}

type watch struct{ end context.CancelCauseFunc }

// New puts a seal around a backend; it does not use the backend, and starts nothing.
func New(b storage.Backend, c Config) (*Sealed, error) {
	if b == nil {
		return nil, errors.New("seal a store: no backend")
	}
	r, err := newRules(c.Rules)
	if err != nil {
		return nil, fmt.Errorf("seal a store: %w", err)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	s := &Sealed{inner: b, log: c.Log, watches: map[*watch]struct{}{}}
	s.rules.Store(r)
	return s, nil
}

// SetRules puts other rules in the place of those there were, for all that begins from now on. If a value could not
// be opened by the old rules, all watches end with a *storage.TooOldError, so that whoever marked it as corrupt reads
// it anew, as storage.DB does; one that is between two watches just then may miss it while another stands, so have one
// DB on a Sealed. An error leaves the rules as they were.
func (s *Sealed) SetRules(list ...Rule) error {
	r, err := newRules(list)
	if err != nil {
		return fmt.Errorf("set the rules of sealing: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.rules.Swap(r)
	if old.commits == 0 {
		close(old.idle)
	} else {
		s.old = append(s.old, old)
	}
	if old.refused.Load() {
		s.owed = len(s.watches) == 0
		for w := range s.watches {
			w.end(errAnew)
		}
	}
	return nil
}

// enter takes the rules for a commit, which must leave.
func (s *Sealed) enter() *rules {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.rules.Load()
	r.commits++
	return r
}

func (s *Sealed) leave(r *rules) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.commits--
	if r.commits == 0 && s.rules.Load() != r {
		close(r.idle)
		s.old = slices.DeleteFunc(slices.Clone(s.old), func(o *rules) bool { return o == r })
	}
}

// settle returns the rules once no commit by earlier ones is under way.
func (s *Sealed) settle(ctx context.Context) (*rules, error) {
	s.mu.Lock()
	r, old := s.rules.Load(), s.old
	s.mu.Unlock()
	for _, o := range old {
		select {
		case <-o.idle:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for commits by earlier rules: %w", ctx.Err())
		}
	}
	return r, nil
}

func (s *Sealed) commit(ctx context.Context, t storage.Txn) (int64, error) {
	r := s.enter()
	defer s.leave(r)
	return s.commitBy(ctx, r, t)
}

// commitBy commits by rules that the caller has entered.
func (s *Sealed) commitBy(ctx context.Context, r *rules, t storage.Txn) (int64, error) {
	ops, err := r.seal(ctx, t.Then)
	if err != nil {
		return 0, err
	}
	t.Then = ops
	s.warn(r, ops)
	return s.inner.Commit(ctx, t)
}

// wearing is a provider whose key wears out.
type wearing interface{ Used() (used, limit uint64) }

// warn tells, once, that a key has done half of what it may.
func (s *Sealed) warn(r *rules, ops []storage.Op) {
	if r.warned.Load() {
		return
	}
	for _, op := range ops {
		p, ok := r.of(op.Key).Providers[0].(wearing)
		if !ok || op.Value == nil {
			continue
		}
		if used, limit := p.Used(); used > limit/2 && r.warned.CompareAndSwap(false, true) {
			s.log.Warn("an encryption key is wearing out, put a new one first", "provider", fmt.Sprint(p),
				"sealed", used, "limit", limit)
		}
	}
}

func (s *Sealed) read(ctx context.Context, r storage.Range) (storage.Page, error) {
	page, err := s.inner.Range(ctx, r)
	if err != nil {
		return storage.Page{}, err
	}
	page.KVs, err = s.open(ctx, page.KVs)
	return page, err
}

// open opens values by the present rules.
func (s *Sealed) open(ctx context.Context, kvs []storage.KV) ([]storage.KV, error) {
	for len(kvs) > 0 {
		r := s.rules.Load()
		out, refused, err := r.open(ctx, kvs)
		if err != nil {
			return nil, err
		}
		if !refused {
			return out, nil
		}
		r.refused.Store(true) // before looking: SetRules looks after it has swapped
		if s.rules.Load() == r {
			return out, nil
		}
	}
	return kvs, nil
}

var errAnew = errors.New("values that could not be opened may be now")

func (s *Sealed) watch(ctx context.Context, prefix string, after int64) iter.Seq2[storage.Batch, error] {
	return func(yield func(storage.Batch, error) bool) {
		ctx, leave := s.watching(ctx)
		defer leave()
		for batch, err := range s.inner.Watch(ctx, prefix, after) {
			if err == nil {
				batch.Events, err = s.open(ctx, batch.Events)
			}
			if errors.Is(context.Cause(ctx), errAnew) {
				err = fmt.Errorf("%w: %w", errAnew, &storage.TooOldError{Rev: after, Oldest: after})
			}
			if err != nil {
				yield(storage.Batch{}, err)
				return
			}
			after = batch.Rev
			if !yield(batch, nil) {
				return
			}
		}
	}
}

// watching lets SetRules end a watch; the caller must call leave.
func (s *Sealed) watching(ctx context.Context) (_ context.Context, leave func()) {
	ctx, end := context.WithCancelCause(ctx)
	w := &watch{end}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watches[w] = struct{}{}
	if s.owed {
		s.owed = false
		end(errAnew)
	}
	return ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.watches, w)
		end(nil)
	}
}
