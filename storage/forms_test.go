package storage

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

func TestFormIsMadeOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &Entry{Raw: []byte("raw")}
		var made atomic.Int32
		release := make(chan struct{})
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				v, err := e.Form("k", func() (any, error) {
					made.Add(1)
					<-release
					return "form", nil
				})
				if err != nil || v != "form" {
					t.Errorf("got %v, %v", v, err)
				}
			})
		}
		synctest.Wait()
		require.EqualValues(t, 1, made.Load())
		v, err := e.Form("other", func() (any, error) { return "at once", nil })
		require.NoError(t, err)
		require.Equal(t, "at once", v, "another key does not wait")
		close(release)
		wg.Wait()
		require.EqualValues(t, 1, made.Load())
	})
}

func TestFormErrorsAreNotKept(t *testing.T) {
	e := &Entry{}
	broken := errors.New("broken")
	_, err := e.Form(1, func() (any, error) { return nil, broken })
	require.ErrorIs(t, err, broken)
	v, err := e.Form(1, func() (any, error) { return "good", nil })
	require.NoError(t, err)
	require.Equal(t, "good", v)
}

func TestFormPanics(t *testing.T) {
	e := &Entry{}
	require.Panics(t, func() { _, _ = e.Form(1, func() (any, error) { panic("mine") }) })
	v, err := e.Form(1, func() (any, error) { return "good", nil })
	require.NoError(t, err)
	require.Equal(t, "good", v)
}

func TestFormsOfOneEntryAreBounded(t *testing.T) {
	e := &Entry{}
	made := 0
	get := func(k int) {
		_, err := e.Form(k, func() (any, error) { made++; return k, nil })
		require.NoError(t, err)
	}
	for i := range 100 {
		get(i)
		get(0) // in use, so it stays
		require.LessOrEqual(t, len(*e.forms.memo.Load().ready.Load()), maxForms)
	}
	require.Equal(t, 100, made)
}

func TestFormBudget(t *testing.T) {
	b := &formBudget{limit: 10_000}
	entries := make([]*Entry, 100)
	made := map[string]int{}
	get := func(i, form int) {
		_, err := entries[i].Form(form, func() (any, error) {
			made[fmt.Sprint(i, form)]++
			return make([]byte, 1000), nil
		})
		require.NoError(t, err)
	}
	kept := func() (n int) {
		for _, e := range entries {
			if m := e.forms.memo.Load(); m != nil && m.ready.Load() != nil {
				n += len(*m.ready.Load())
			}
		}
		return n
	}
	for i := range entries {
		entries[i] = &Entry{forms: forms{budget: b}}
	}
	for round := range 20 {
		for i := range entries {
			get(i, round)
			get(3, 0) // always hot
			require.LessOrEqual(t, b.bytes, b.limit)
			require.LessOrEqual(t, kept(), 8, "10,000 bytes are at most 8 forms of 1,128")
		}
	}
	require.Less(t, made["3 0"], 25, "the hot one is mostly kept")
	require.Less(t, len(b.queue), 200, "the queue does not grow")
	require.Equal(t, b.live, kept())
}

func TestFormBudgetConcurrently(t *testing.T) {
	b := &formBudget{limit: 5_000}
	entries := make([]*Entry, 20)
	for i := range entries {
		entries[i] = &Entry{forms: forms{budget: b}}
	}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 2000 {
				want := (i*7 + g) % 12
				v, err := entries[(i*g)%20].Form(want, func() (any, error) { return []byte{byte(want)}, nil })
				if err != nil || v.([]byte)[0] != byte(want) {
					t.Errorf("form %d is %v, %v", want, v, err)
				}
			}
		})
	}
	wg.Wait()
	var bytes int64
	for _, e := range entries {
		for _, f := range *e.forms.memo.Load().ready.Load() {
			bytes += f.cost
		}
	}
	require.Equal(t, b.bytes, bytes)
	require.LessOrEqual(t, b.bytes, b.limit)
}
