//go:build linux

package soak

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bedplate/bedplate/storage"
)

// TestPowerCut takes the disk of a member away in the middle of its work, as it is at that moment: what was only in
// memory, the filesystem's included, is gone. It is a picture of the image while the member stands still; the load
// goes on after it.
func TestPowerCut(t *testing.T) {
	cuts := 3
	if *soakFor > 0 {
		cuts = 20
	}
	dir := shortDir(t)
	image := filepath.Join(dir, "image")
	require.NoError(t, makeImage(image, 256<<20))
	s := newSolo(dir, image)
	require.NoError(t, s.start(t.Context()), "%s", tail(s.log, 2000))
	t.Cleanup(func() { s.p.kill() })
	c, err := s.client()
	require.NoError(t, err)
	defer c.Close()

	w, h := newWork("cut", rand.Uint64(), time.Millisecond), newHistory(1, nil)
	recording, stopRecording := context.WithCancel(t.Context())
	var recorder, working sync.WaitGroup
	defer recorder.Wait()
	defer stopRecording()
	recorder.Go(func() { h.record(recording, c) })
	workCtx, stop := context.WithCancel(t.Context())
	defer working.Wait()
	defer stop()
	for id := range clients {
		working.Go(func() { w.client(workCtx, id, func(*rand.Rand) door { return s.door() }) })
	}
	type cut struct {
		image string
		at    int64 // what was acknowledged before must be there
	}
	var all []cut
	for i := range cuts {
		whole, _ := h.upTo()
		require.NoError(t, h.await(t.Context(), whole+300+rand.Int64N(300)))
		one := cut{filepath.Join(dir, fmt.Sprintf("cut%d", i)), w.now()}
		require.NoError(t, s.p.signal(syscall.SIGSTOP))
		err := copyStill(image, one.image)
		require.NoError(t, s.p.signal(syscall.SIGCONT))
		require.NoError(t, err)
		all = append(all, one)
	}
	stop()
	working.Wait()
	last, err := s.all(t.Context())
	require.NoError(t, err)
	require.NoError(t, h.await(t.Context(), last[0].Rev))
	stopRecording()
	recorder.Wait()
	v := w.check(h)
	require.Empty(t, v.problems)
	known := newTimes(w.ops)
	acked := 0
	for i, one := range all {
		sub := filepath.Join(dir, fmt.Sprint(i))
		require.NoError(t, os.Mkdir(sub, 0o700))
		again := newSolo(sub, one.image)
		require.NoError(t, again.start(t.Context()), "boot after cut %d: %s", i, tail(again.log, 2000))
		got, err := again.all(t.Context())
		require.NoError(t, err)
		for j, l := range got {
			require.GreaterOrEqual(t, l.Rev, known.floor(one.at), "cut %d lost what was acknowledged", i)
			require.LessOrEqual(t, l.Rev, h.whole)
			require.Equal(t, h.state(tables[j], l.Rev), l.Entries, "cut %d at revision %d", i, l.Rev)
		}
		rev, err := again.door().Commit(t.Context(), []write{{Key: "a/after", Value: "cut", At: 0}})
		require.NoError(t, err)
		require.Equal(t, got[0].Rev+1, rev)
		again.p.kill()
		for _, o := range w.ops {
			if o.kind == "commit" && o.outcome == done && o.ret < one.at {
				acked++
			}
		}
	}
	t.Logf("%d power cuts, %d commits, %d acknowledged before a cut, lost: 0", cuts, v.commits, acked)
}

// TestDiskFull fills the disk under a member: what cannot be stored is not acknowledged, somebody says why, and when
// there is room again everything that was acknowledged is there.
func TestDiskFull(t *testing.T) {
	dir := shortDir(t)
	image := filepath.Join(dir, "image")
	require.NoError(t, makeImage(image, 96<<20))
	s := newSolo(dir, image)
	require.NoError(t, s.start(t.Context()), "%s", tail(s.log, 2000))
	t.Cleanup(func() { s.p.kill() })
	acked := map[string]entry{}
	put := func(i int, size int) error {
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		defer cancel()
		d := s.door()
		defer d.Close()
		e := entry{Key: fmt.Sprintf("a/%03d", i%100), Value: fmt.Sprintf("%d.%s", i, strings.Repeat("x", size))}
		var err error
		if e.Rev, err = d.Commit(ctx, []write{{Key: e.Key, Value: e.Value, At: storage.AnyRev}}); err == nil {
			acked[e.Key] = e
		}
		return err
	}
	whole := func(tried string) {
		got, err := s.all(t.Context())
		require.NoError(t, err)
		have := map[string]entry{}
		for _, e := range got[0].Entries {
			have[e.Key] = e
		}
		for key, e := range acked {
			// The one that was refused last may have come to pass all the same: it had no answer.
			if have[key] != e && key != tried {
				require.Equal(t, e, have[key])
			}
			require.GreaterOrEqual(t, have[key].Rev, e.Rev)
		}
	}
	n := 0
	for ; n < 200; n++ {
		require.NoError(t, put(n, 1000))
	}
	var full error
	if err := s.manage(t.Context(), "fill"); err != nil { // the member may want more room just then, and end
		require.ErrorIs(t, err, errLink)
	}
	for ; full == nil; n++ {
		require.Less(t, n, 3000, "the disk is never full")
		full = put(n, 100_000)
	}
	tried := fmt.Sprintf("a/%03d", (n-1)%100)
	var ended, room bool
	select {
	case <-s.p.done:
		ended = true
	case <-time.After(2 * time.Second): // it goes on, or takes its time to end
		err := s.manage(t.Context(), "room")
		if room = err == nil; room {
			err = put(n-1, 1000)
		}
		if ended = err != nil; ended {
			<-s.p.done
		}
	}
	t.Logf("after %d commits: %v; the member ended: %t: %s", n-1, full, ended, tail(s.log, 600))
	if ended {
		require.Contains(t, tail(s.log, 4000), "no space left on device")
		if *soakFor == 0 || room {
			// The next takes a member half a minute.
		} else if err := s.start(t.Context()); err != nil { // a start on the full disk works, or says why not
			require.Contains(t, tail(s.log, 2000), "no space left on device")
		} else {
			whole(tried)
			s.p.kill()
		}
		s.c.Room = true
		require.NoError(t, s.start(t.Context()), "%s", tail(s.log, 2000))
	} else {
		require.False(t, errors.Is(full, errLink), "no answer, and the member is there: %v", full)
	}
	whole(tried)
	for range 200 {
		require.NoError(t, put(n, 1000))
		n++
	}
	whole("")
	require.NoError(t, s.stop())
	require.NoError(t, s.start(t.Context()), "%s", tail(s.log, 2000))
	whole("")
}
