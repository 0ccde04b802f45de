package storage_test

import (
	"context"
	"errors"
	"iter"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/memory"
)

// reads is a backend that notes how it is read.
type reads struct {
	storage.Backend
	most int // keys of a page; more is too large. 0: no limit

	mu     sync.Mutex
	limits []int
}

func (r *reads) Range(ctx context.Context, q storage.Range) (storage.Page, error) {
	r.mu.Lock()
	r.limits = append(r.limits, q.Limit)
	r.mu.Unlock()
	if r.most > 0 && q.Limit > r.most {
		return storage.Page{}, storage.ErrTooLarge
	}
	return r.Backend.Range(ctx, q)
}

// streams is a backend that streams, or says that it can't.
type streams struct {
	*reads
	fails []error // by turns; nil works
}

func (s *streams) Stream(ctx context.Context, q storage.Range) iter.Seq2[storage.Page, error] {
	var fail error
	if len(s.fails) > 0 {
		fail, s.fails = s.fails[0], s.fails[1:]
	}
	return func(yield func(storage.Page, error) bool) {
		if errors.Is(fail, errors.ErrUnsupported) {
			yield(storage.Page{}, fail)
			return
		}
		q.Limit = 10
		for more := true; more; {
			page, err := s.Backend.Range(ctx, q)
			if !yield(page, err) || err != nil {
				return
			}
			if fail != nil {
				yield(storage.Page{}, fail)
				return
			}
			more, q.From = page.More, page.KVs[len(page.KVs)-1].Key+"\x00"
		}
	}
}

func TestLoad(t *testing.T) {
	broken := errors.New("broken off")
	for name, c := range map[string]struct {
		most    int
		streams bool
		fails   []error
		limits  []int // of the pages that were read
	}{
		"pages grow":          {limits: []int{1, 2, 4, 8, 16, 32, 64}},
		"pages are too large": {most: 5, limits: append([]int{1, 2, 4, 8}, slices.Repeat([]int{4}, 24)...)},
		"stream":              {streams: true},
		"stream broken off":   {streams: true, fails: []error{broken, broken, nil}},
		"no stream":           {streams: true, fails: []error{errors.ErrUnsupported}, limits: []int{1, 2, 4, 8, 16, 32, 64}},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := memory.New(memory.Config{})
			require.NoError(t, err)
			require.NoError(t, fill(t.Context(), m, 100, 100))
			r := &reads{Backend: m, most: c.most}
			var backend storage.Backend = r
			if c.streams {
				backend = &streams{r, c.fails}
			}
			db, err := storage.New(backend, storage.Config{Page: 1})
			require.NoError(t, err)
			table, err := db.Table(storage.Schema{Prefix: prefix})
			require.NoError(t, err)
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- db.Run(ctx) }()
			s, err := table.Snapshot(t.Context(), 0, false)
			require.NoError(t, err)
			var keys []string
			for e := range s.All(storage.Filter{}, "") {
				require.Equal(t, checksum(e.Key), word(e.Raw))
				keys = append(keys, e.Key)
			}
			require.Len(t, keys, 100)
			require.True(t, slices.IsSorted(keys))
			require.Equal(t, c.limits, r.limits)
			cancel()
			require.NoError(t, <-ended)
		})
	}
}
