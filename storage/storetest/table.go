package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/bedplate/bedplate/storage"
)

var tableTests = append([]test{
	{"Get", testGet},
	{"Snapshot", testSnapshot},
	{"SnapshotOfThePast", testSnapshotPast},
	{"Prefixes", testPrefixes},
	{"Commit", testCommit},
	{"Fence", testFence},
	{"Corrupt", testCorrupt},
	{"Index", testIndex},
	{"Drop", testDrop},
	{"Closed", testClosed},
	{"Made", testMade},
}, selectTests...)

func testGet(e *env) {
	db := e.db(storage.Config{Wait: 50 * time.Millisecond})
	t := e.pods(db)
	_, err := t.Get(e.ctx, "default/web", 0)
	e.ErrorIs(err, storage.ErrNotFound)
	e.ErrorContains(err, "/registry/pods/default/web")
	rev := e.set(t, db, "default/web", "v1")
	got, err := t.Get(e.ctx, "default/web", 0)
	e.NoError(err)
	e.Equal("default/web", got.Key)
	e.Equal("v1", string(got.Raw))
	e.Equal(rev, got.Rev)
	e.Equal(rev, got.Created)
	rev2 := e.set(t, db, "default/web", "v2")
	got, err = t.Get(e.ctx, "default/web", rev2)
	e.NoError(err)
	e.Equal("v2", string(got.Raw))
	e.Equal(rev, got.Created)
	_, err = t.Get(e.ctx, "default/web", storage.Cached)
	e.NoError(err)
	_, err = t.Get(e.ctx, "default/web", rev2+100)
	var future *storage.FutureError
	e.ErrorAs(err, &future)
	e.Equal(rev2+100, future.Rev)
	e.unset(t, db, "default/web")
	_, err = t.Get(e.ctx, "default/web", 0)
	e.ErrorIs(err, storage.ErrNotFound)
	ctx, cancel := context.WithCancel(e.ctx)
	cancel()
	_, err = t.Get(ctx, "default/web", rev2+100)
	e.ErrorIs(err, context.Canceled)
}

func testSnapshot(e *env) {
	db := e.db(storage.Config{})
	t := e.pods(db)
	for i, k := range []string{"a/1", "a/2", "b/1", "b/2", "c/1"} {
		e.set(t, db, k, fmt.Sprint(i))
	}
	s, err := t.Snapshot(e.ctx, 0, false)
	e.NoError(err)
	e.Equal(5, s.Len())
	e.EqualValues(6, s.Rev())
	e.Equal([]string{"b/1=2@4", "b/2=3@5"}, contents(s, storage.Filter{Prefix: "b/"}))
	var from []string
	for en := range s.All(storage.Filter{}, "a/2\x00") {
		if from = append(from, en.Key); len(from) == 2 {
			break
		}
	}
	e.Equal([]string{"b/1", "b/2"}, from)
	e.unset(t, db, "b/1")
	rev := e.set(t, db, "b/3", "x")
	e.Len(contents(s, storage.Filter{}), 5, "a snapshot does not change")
	s2, err := t.Snapshot(e.ctx, rev, false)
	e.NoError(err)
	e.GreaterOrEqual(s2.Rev(), rev)
	e.Equal([]string{"b/2=3@5", "b/3=x@8"}, contents(s2, storage.Filter{Prefix: "b/"}))
	_, ok := s2.Get("b/1")
	e.False(ok)
	one, ok := s.Get("b/2")
	e.True(ok)
	two, _ := s2.Get("b/2")
	e.Same(one, two, "what did not change is shared")
}

func testSnapshotPast(e *env) {
	db := e.db(storage.Config{Wait: 50 * time.Millisecond})
	t := e.pods(db)
	want := map[int64][]string{}
	var last int64
	for i := range 30 {
		if i%5 == 4 {
			e.unset(t, db, fmt.Sprint(i-3))
		} else {
			e.set(t, db, fmt.Sprint(i%7), fmt.Sprint(i))
		}
		s, err := t.Snapshot(e.ctx, 0, false)
		e.NoError(err)
		last = s.Rev()
		want[last] = contents(s, storage.Filter{})
	}
	for round := range 2 {
		for rev, want := range want {
			s, err := t.Snapshot(e.ctx, rev, true)
			e.NoError(err)
			e.Equal(rev, s.Rev())
			e.Equal(want, contents(s, storage.Filter{}), "round %d, revision %d", round, rev)
		}
	}
	_, err := t.Snapshot(e.ctx, last+9, true)
	e.ErrorIs(err, storage.ErrFuture)
}

func testPrefixes(e *env) {
	db := e.db(storage.Config{})
	e.pods(db)
	for _, bad := range []string{"/registry/pods/", "/registry/pods/x/", "/registry/", "/other/", "/registry/x", ""} {
		_, err := db.Table(storage.Schema{Prefix: bad})
		e.Error(err, bad)
	}
	more := e.table(db, storage.Schema{Prefix: "/registry/pods2/"})
	e.put("/registry/pods2/a", "1")
	e.put("/registry/pods/a", "1")
	e.put("/registry/pods1", "1")
	s, err := more.Snapshot(e.ctx, 0, false)
	e.NoError(err)
	e.Equal([]string{"a=1@2"}, contents(s, storage.Filter{}))
}

func testCommit(e *env) {
	db := e.db(storage.Config{MaxValue: 100})
	t := e.pods(db)
	rev := e.write(db, storage.Write{Table: t, Key: "a", Value: []byte("1")})
	for name, w := range map[string][]storage.Write{
		"exists":    {{Table: t, Key: "a", Value: []byte("2")}},
		"old":       {{Table: t, Key: "a", Value: []byte("2"), At: rev - 1}},
		"gone":      {{Table: t, Key: "b", At: rev}},
		"condition": {{Table: t, Key: "a", Value: []byte("2"), At: rev, If: []storage.Cond{{Key: "/x", Rev: 1}}}},
		"second":    {{Table: t, Key: "c", Value: []byte("2")}, {Key: "/x", At: 7}},
	} {
		_, err := db.Commit(e.ctx, w...)
		e.ErrorIs(err, storage.ErrConflict, name)
	}
	_, err := db.Commit(e.ctx, storage.Write{Table: t, Key: "a", Value: make([]byte, 101), At: rev})
	e.ErrorIs(err, storage.ErrTooLarge)
	_, err = db.Commit(e.ctx)
	e.Error(err)
	_, err = db.Commit(e.ctx, storage.Write{Table: t, Key: "z"}, storage.Write{Table: t, Key: "z"})
	e.ErrorContains(err, "twice")
	e.EqualValues(rev+1, e.write(db, storage.Write{Table: t, Key: "a", At: rev}))
}

// testFence is the use of conditions on other keys: a writer that was deposed cannot write.
func testFence(e *env) {
	db := e.db(storage.Config{})
	t := e.pods(db)
	const fence = "/fences/leader"
	first := e.write(db, storage.Write{Key: fence, Value: []byte("one"), At: storage.AnyRev})
	mine := func(rev int64) storage.Write {
		return storage.Write{Table: t, Key: "a", Value: []byte("x"), At: storage.AnyRev, If: []storage.Cond{{Key: fence, Rev: rev}}}
	}
	e.write(db, mine(first))
	second := e.write(db, storage.Write{Key: fence, Value: []byte("two"), At: first})
	_, err := db.Commit(e.ctx, mine(first))
	var conflict *storage.ConflictError
	e.ErrorAs(err, &conflict)
	e.Equal(&storage.ConflictError{Key: fence, Want: first, Have: second, Exists: true}, conflict)
	e.write(db, mine(second))
	e.write(db, storage.Write{If: []storage.Cond{{Key: fence, Rev: second}}})
}

// tagged is a schema whose objects are "label index rest"; the word bad is corrupt.
func tagged(prefix string) storage.Schema {
	return storage.Schema{
		Prefix:  prefix,
		Indexes: []string{"second"},
		Head: func(raw []byte) (storage.Head, error) {
			if bytes.HasPrefix(raw, []byte("bad")) {
				return storage.Head{}, errors.New("cannot read it")
			}
			words := strings.Fields(string(raw) + " - -")
			return storage.Head{Labels: []storage.Pair{{Key: "l", Value: words[0]}}, Index: words[1:2]}, nil
		},
	}
}

func labelled(v string) storage.Filter {
	return storage.Filter{Labels: func(p []storage.Pair) bool { return p[0].Value == v }}
}

func testCorrupt(e *env) {
	e.put("/registry/t/a", "bad")
	e.put("/registry/t/b", "red 1")
	db := e.db(storage.Config{})
	t := e.table(db, tagged("/registry/t/"))
	s, err := t.Snapshot(e.ctx, 0, false)
	e.NoError(err)
	e.Equal([]string{"b=red 1@3"}, contents(s, storage.Filter{}), "one bad object does not block the others")
	for c := range s.Corrupt() {
		e.Equal("/registry/t/a", c.Key)
	}
	_, err = t.Get(e.ctx, "a", 0)
	var corrupt *storage.CorruptError
	e.ErrorAs(err, &corrupt)
	e.EqualValues(2, corrupt.Rev)
	e.ErrorIs(err, storage.ErrCorrupt)

	w, err := t.Watch(s.Rev(), storage.Filter{})
	e.NoError(err)
	defer w.Close()
	e.write(db, storage.Write{Table: t, Key: "a", Value: []byte("red 2"), At: corrupt.Rev})
	e.set(t, db, "b", "bad again")
	e.set(t, db, "b", "bad still")
	e.unset(t, db, "b")
	e.set(t, db, "c", "red 3")
	e.Equal([]string{"+a=red 2@4", "-b=red 1@5", "+c=red 3@8"}, e.events(w, 3))
	s, err = t.Snapshot(e.ctx, 0, false)
	e.NoError(err)
	for c := range s.Corrupt() {
		e.Fail("still corrupt", "%v", c)
	}
}

func testIndex(e *env) {
	db := e.db(storage.Config{})
	t := e.table(db, tagged("/registry/t/"))
	for i := range 20 {
		e.set(t, db, fmt.Sprintf("%02d", i), fmt.Sprintf("red n%d", i%3))
	}
	latest := func() *storage.Snapshot {
		s, err := t.Snapshot(e.ctx, 0, false)
		e.NoError(err)
		return s
	}
	keys := func(s *storage.Snapshot, value string) (out []string) {
		for _, text := range byIndex(e.T, t, s, "second", value) {
			key, _, _ := strings.Cut(text, "=")
			out = append(out, key)
		}
		return out
	}
	unasked := latest() // from before anybody asked
	e.set(t, db, "20", "red n1")
	old := latest()
	e.Equal([]string{"01", "04", "07", "10", "13", "16", "19", "20"}, keys(old, "n1"))
	e.set(t, db, "04", "red n2")
	e.unset(t, db, "10")
	e.set(t, db, "13", "bad")
	e.set(t, db, "16", "bad")
	e.set(t, db, "16", "red n1")
	s := latest()
	e.Equal([]string{"01", "07", "16", "19", "20"}, keys(s, "n1"))
	e.Equal([]string{"02", "04", "05", "08", "11", "14", "17"}, keys(s, "n2"))
	for range s.ByIndex("second", "n2") {
		break
	}
	e.Equal([]string{"01", "04", "07", "10", "13", "16", "19", "20"}, keys(old, "n1"))
	e.Equal([]string{"01", "04", "07", "10", "13", "16", "19"}, keys(unasked, "n1"))
	past, err := t.Snapshot(e.ctx, old.Rev(), true)
	e.NoError(err)
	e.Equal(keys(old, "n1"), keys(past, "n1"))
	for range s.ByIndex("none", "n1") {
		e.Fail("an index that is not declared has nothing")
	}
	db.Drop(t)
	n := 0
	for range unasked.ByIndex("second", "n1") {
		n++
	}
	e.Equal(7, n, "a snapshot outlives its table")
}

func testDrop(e *env) {
	db := e.db(storage.Config{})
	t := e.pods(db)
	e.set(t, db, "a", "1")
	w, err := t.Watch(1, storage.Filter{})
	e.NoError(err)
	e.events(w, 1)
	db.Drop(t)
	db.Drop(t)
	_, err = w.Next(e.ctx)
	e.ErrorIs(err, storage.ErrClosed)
	_, err = t.Get(e.ctx, "a", 0)
	e.ErrorIs(err, storage.ErrClosed)
	again := e.pods(db)
	got, err := again.Get(e.ctx, "a", 0)
	e.NoError(err)
	e.Equal("1", string(got.Raw))
}

func testClosed(e *env) {
	db, err := storage.New(e.b, storage.Config{})
	e.NoError(err)
	t := e.pods(db)
	ctx, cancel := context.WithCancel(e.ctx)
	ended := make(chan error, 1)
	go func() { ended <- db.Run(ctx) }()
	_, err = t.Snapshot(e.ctx, 0, false)
	e.NoError(err)
	w, err := t.Watch(0, storage.Filter{})
	e.NoError(err)
	next := make(chan error, 1)
	go func() {
		_, err := w.Next(e.ctx)
		next <- err
	}()
	cancel()
	e.NoError(<-ended)
	e.ErrorIs(<-next, storage.ErrClosed)
	_, err = t.Get(e.ctx, "a", 0)
	e.ErrorIs(err, storage.ErrClosed)
	_, err = t.Watch(0, storage.Filter{})
	e.ErrorIs(err, storage.ErrClosed)
	_, err = db.Table(storage.Schema{Prefix: "/registry/x/"})
	e.ErrorIs(err, storage.ErrClosed)
	e.Error(db.Run(e.ctx), "a second Run")
}

// testMade: what the writer knows is taken over if, and only if, the very bytes that it wrote come back.
func testMade(e *env) {
	db := e.db(storage.Config{})
	read := 0
	table := e.table(db, storage.Schema{Prefix: "/registry/pods/", Head: func(raw []byte) (storage.Head, error) {
		read++
		return storage.Head{UID: "read"}, nil
	}})
	_, err := table.Snapshot(e.ctx, 0, false) // the table is loaded
	e.NoError(err)
	made := func(uid string) *storage.Made {
		return &storage.Made{Head: storage.Head{UID: uid}, Form: func(rev int64) (key, form any) { return "form", fmt.Sprint(uid, rev) }}
	}
	get := func(key string) *storage.Entry {
		got, err := table.Get(e.ctx, key, 0)
		e.NoError(err)
		return got
	}
	value := []byte("one")
	rev, err := db.Commit(e.ctx, storage.Write{Table: table, Key: "a", Value: value, Made: made("mine")})
	e.NoError(err)
	got := get("a")
	e.Equal("mine", got.Head.UID)
	e.Zero(read, "nothing is read again")
	e.Same(&value[0], &got.Raw[0], "the bytes exist once")
	form, err := got.Form("form", func() (any, error) { return nil, errors.New("made again") })
	e.NoError(err)
	e.Equal(fmt.Sprint("mine", rev), form)

	_, err = db.Commit(e.ctx, storage.Write{Table: table, Key: "a", Value: []byte("two"), Made: made("refused")})
	e.ErrorIs(err, storage.ErrConflict)
	_, err = db.Commit(e.ctx, storage.Write{Table: table, Key: "a", Value: []byte("two"), At: rev})
	e.NoError(err)
	e.Equal("read", get("a").Head.UID, "what was refused is forgotten")

	_, err = db.Commit(e.ctx, storage.Write{Table: table, Key: "a", At: storage.AnyRev, Made: made("deleted")})
	e.NoError(err)
	e.put("/registry/pods/a", "three")
	e.Equal("read", get("a").Head.UID, "another's write")
}
