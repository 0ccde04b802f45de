package storetest

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/bedplate/bedplate/storage"
)

var streamTests = []test{
	{"Whole", testStreamWhole},
	{"Empty", testStreamEmpty},
	{"Left", testStreamLeft},
	{"Errors", testStreamErrors},
}

// stream opens a stream of a backend that has them.
func (e *env) stream(ctx context.Context, r storage.Range) iter.Seq2[storage.Page, error] {
	s, ok := e.b.(storage.Streamer)
	if !ok {
		return nil
	}
	for _, err := range s.Stream(e.ctx, storage.Range{Prefix: "/", At: 1}) {
		if errors.Is(err, errors.ErrUnsupported) {
			return nil
		}
		break
	}
	return s.Stream(ctx, r)
}

// fillMany stores more than a stream takes in one part, and changes and deletes some of it.
func (e *env) fillMany() (rev int64) {
	value := make([]byte, 20_000)
	for i := range 600 {
		rev = e.put(fmt.Sprintf("/many/%04d", i), fmt.Sprint(i, string(value)))
	}
	e.put("/many/0007", "changed")
	e.del("/many/0009")
	e.put("/more/1", "not of the range")
	return rev
}

// testStreamWhole: a stream yields what Range does, at any revision and from any key.
func testStreamWhole(e *env) {
	past := e.fillMany()
	now := e.put("/many/0601", "last")
	for _, r := range []storage.Range{
		{Prefix: "/many/", At: now}, {Prefix: "/many/", At: past}, {Prefix: "/many/"}, {Prefix: "/many/", From: "/many/0300", At: now},
		{Prefix: "/many/", At: now, Limit: 400}, {At: now},
	} {
		stream := e.stream(e.ctx, r)
		if stream == nil {
			return
		}
		var got []storage.KV
		parts := 0
		for page, err := range stream {
			e.NoError(err)
			got = append(got, page.KVs...)
			parts++
		}
		want, err := e.b.Range(e.ctx, r)
		e.NoError(err)
		e.Equal(len(want.KVs), len(got), "%+v", r)
		for i := range got {
			e.Equal(want.KVs[i], got[i])
		}
		e.Greater(parts, 1, "it comes in parts")
	}
}

func testStreamEmpty(e *env) {
	rev := e.put("/a", "1")
	stream := e.stream(e.ctx, storage.Range{Prefix: "/none/", At: rev})
	if stream == nil {
		return
	}
	for page, err := range stream {
		e.NoError(err)
		e.Empty(page.KVs)
	}
}

// testStreamLeft: a reader may leave, and a context may end, and the store goes on.
func testStreamLeft(e *env) {
	rev := e.fillMany()
	ctx, cancel := context.WithCancel(e.ctx)
	defer cancel()
	for range 20 {
		stream := e.stream(ctx, storage.Range{Prefix: "/many/", At: rev})
		if stream == nil {
			return
		}
		for _, err := range stream {
			e.NoError(err)
			break
		}
	}
	stream := e.stream(ctx, storage.Range{Prefix: "/many/", At: rev})
	cancel()
	var last error
	for _, err := range stream {
		last = err
	}
	e.ErrorIs(last, context.Canceled)
	e.put("/many/0001", "again")
}

func testStreamErrors(e *env) {
	c, ok := e.b.(Compacter)
	rev := e.fillMany()
	stream := e.stream(e.ctx, storage.Range{Prefix: "/many/", At: rev + 1000})
	if stream == nil || !ok {
		return
	}
	for _, err := range stream {
		e.ErrorIs(err, storage.ErrFuture)
	}
	e.NoError(c.Compact(e.ctx, rev))
	for _, err := range e.stream(e.ctx, storage.Range{Prefix: "/many/", At: rev - 1}) {
		e.ErrorIs(err, storage.ErrTooOld)
	}
}
