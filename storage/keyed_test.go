package storage

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func keyedEntry(key int, rev int64) *Entry { return &Entry{Key: fmt.Sprint(key), Rev: rev} }

// TestKeyedModel: it has what a map has, whatever came and went.
func TestKeyedModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var k keyed
		k.reset(rapid.IntRange(0, 40).Draw(t, "room"))
		model := map[int]*Entry{}
		for i := range rapid.IntRange(1, 300).Draw(t, "steps") {
			key := rapid.IntRange(0, 50).Draw(t, "key")
			var e *Entry
			if rapid.Bool().Draw(t, "set") {
				e = keyedEntry(key, int64(i))
			}
			k.set(fmt.Sprint(key), model[key], e)
			if model[key] = e; e == nil {
				delete(model, key)
			}
		}
		for key := range 51 {
			require.Same(t, model[key], k.get(fmt.Sprint(key)), key)
		}
		require.Equal(t, len(model), k.live)
	})
}

// TestKeyedConcurrent: readers see of each key what it was at some moment of the reading, never another key's entry,
// and never one that is older than what was there when they began.
func TestKeyedConcurrent(t *testing.T) {
	const keys, writes = 64, 50_000
	var k keyed
	k.reset(0)
	var written [keys]atomic.Int64 // the revision that is there, negative: deleted at it
	var present [keys]*Entry
	var wg sync.WaitGroup
	done := make(chan struct{})
	for range 3 {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(1, rand.Uint64()))
			for {
				select {
				case <-done:
					return
				default:
				}
				key := random.IntN(keys)
				before := written[key].Load()
				e := k.get(fmt.Sprint(key))
				if e == nil {
					continue // deleted, or being moved: the reader asks the tree
				}
				if e.Key != fmt.Sprint(key) || e.Rev < max(before, -before) {
					t.Errorf("key %d: got %s of revision %d, %d was written before", key, e.Key, e.Rev, before)
					return
				}
			}
		})
	}
	for rev := int64(1); rev <= writes; rev++ {
		key := rand.IntN(keys)
		var e *Entry
		if rand.IntN(3) > 0 {
			e = keyedEntry(key, rev)
		}
		k.set(fmt.Sprint(key), present[key], e)
		if present[key] = e; e == nil {
			rev = -rev
		}
		written[key].Store(rev)
		rev = max(rev, -rev)
	}
	close(done)
	wg.Wait()
}
