//go:build linux

package soak

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/bedplate/bedplate/storage"
)

// verdict is what the checks of a round found.
type verdict struct {
	counts
	problems []string
	kinds    map[string]int
}

const maxOfAKind = 3

// bad notes a problem. The word before the colon is its kind; of each, the first few are kept.
func (v *verdict) bad(format string, args ...any) {
	if v.kinds == nil {
		v.kinds = map[string]int{}
	}
	kind, _, _ := strings.Cut(format, ":")
	if v.kinds[kind]++; v.kinds[kind] <= maxOfAKind {
		text := fmt.Sprintf(format, args...)
		v.problems = append(v.problems, text[:min(len(text), 1500)])
	}
}

// checkLimit bounds porcupine's search; it needs a second as a rule.
const checkLimit = 60 * time.Second

// check explains a round by the store's history.
func (w *work) check(h *history) *verdict {
	v := &verdict{}
	h.index()
	for _, text := range h.disagree {
		v.bad("history: %s", text)
	}
	values := v.checkUnique(h, w)
	landed := v.resolve(w.ops, values)
	t := newTimes(w.ops)
	v.attribute(h, t, w, landed)
	for _, o := range w.ops {
		v.count(o)
		v.checkOp(h, t, o, landed)
	}
	v.checkPorcupine(w, landed)
	for _, m := range w.watchers {
		c := m.check(h, v.bad)
		v.watchCounts.add(c)
	}
	v.revisions += int(h.whole - h.base)
	return v
}

func (c *watchCounts) add(o watchCounts) {
	c.lists += o.lists
	c.resumed += o.resumed
	c.tooOld += o.tooOld
	c.events += o.events
	c.bookmarks += o.bookmarks
}

// checkUnique returns the revision at which each value of the round was written.
func (v *verdict) checkUnique(h *history, w *work) map[string]int64 {
	values := map[string]int64{}
	for rev := h.base + 1; rev <= h.whole; rev++ {
		for _, c := range h.revs[rev] {
			if c.Deleted || !slices.Contains(w.keys, c.Key) {
				continue
			}
			if first, ok := values[c.Value]; ok {
				v.bad("history: %q was written twice, at revisions %d and %d", c.Value, first, rev)
			}
			values[c.Value] = rev
		}
	}
	return values
}

// resolve finds out at which revision each commit took effect, but for those that only delete and have no answer.
func (v *verdict) resolve(ops []*op, values map[string]int64) map[*op]int64 {
	landed := map[*op]int64{}
	for _, o := range ops {
		if o.kind != "commit" {
			continue
		}
		var rev int64
		for _, w := range o.writes {
			if at := values[w.Value]; !w.Delete && at != 0 {
				rev = at
			}
		}
		switch {
		case o.outcome == done:
			landed[o] = o.rev
		case o.outcome == unknown && rev != 0:
			landed[o] = rev
		case rev != 0:
			v.bad("commit: a write that was refused is in the store at revision %d: %v", rev, o)
		}
	}
	return landed
}

// attribute sees that somebody has made each change, and so finds out which deletions without an answer took effect.
func (v *verdict) attribute(h *history, t *times, w *work, landed map[*op]int64) {
	by := map[int64]*op{}
	var open []*op
	for _, o := range w.ops {
		rev, ok := landed[o]
		switch {
		case ok && h.wrote(o, rev):
			if other := by[rev]; other != nil && !h.idle(o) && !h.idle(other) {
				v.bad("commit: two have revision %d: %v and %v", rev, o, other)
			}
			by[rev] = o
		case !ok && o.outcome == unknown:
			open = append(open, o)
		}
	}
	// One that names a revision can have made one change alone; of the others, the earliest is the least bound.
	slices.SortStableFunc(open, func(a, b *op) int {
		if fixed := cmp.Compare(b.writes[0].At, a.writes[0].At); min(a.writes[0].At, b.writes[0].At) < 0 && fixed != 0 {
			return fixed
		}
		return cmp.Compare(a.call, b.call)
	})
	for rev := h.base + 1; rev <= h.whole; rev++ {
		if by[rev] != nil || !slices.Contains(w.keys, h.revs[rev][0].Key) {
			continue
		}
		i := slices.IndexFunc(open, func(o *op) bool {
			return landed[o] == 0 && h.wrote(o, rev) && o.call <= t.seen(rev) && t.floor(o.call) < rev
		})
		if i < 0 {
			v.bad("history: nobody has written revision %d: %v", rev, h.revs[rev])
			continue
		}
		landed[open[i]] = rev
	}
}

// wrote tells whether a revision is what a commit would have done: its writes alone, on its conditions.
func (h *history) wrote(o *op, rev int64) bool {
	changes := h.revs[rev]
	n := 0
	for _, w := range o.writes {
		before, _ := h.at(w.Key, rev-1)
		if w.At > 0 && (before.Deleted || before.Rev != w.At) || w.At == 0 && !before.Deleted {
			return false
		}
		if w.Delete && before.Deleted {
			continue
		}
		if !slices.Contains(changes, change{Key: w.Key, Value: w.Value, Deleted: w.Delete, Rev: rev}) {
			return false
		}
		n++
	}
	return n > 0 && n == len(changes)
}

// times knows what was known when.
type times struct {
	ends   []known // by time of return; rev is the newest known by then
	starts []known // by revision; at is the earliest time by which it, or a newer one, was seen
}

type known struct{ at, rev int64 }

func newTimes(ops []*op) *times {
	t := &times{}
	for _, o := range ops {
		if o.rev > 0 && (o.outcome == done || o.outcome == refused) {
			t.ends = append(t.ends, known{o.ret, o.rev})
		}
	}
	t.starts = slices.Clone(t.ends)
	slices.SortFunc(t.ends, func(a, b known) int { return cmp.Compare(a.at, b.at) })
	for i := 1; i < len(t.ends); i++ {
		t.ends[i].rev = max(t.ends[i].rev, t.ends[i-1].rev)
	}
	slices.SortFunc(t.starts, func(a, b known) int { return cmp.Compare(a.rev, b.rev) })
	for i := len(t.starts) - 2; i >= 0; i-- {
		t.starts[i].at = min(t.starts[i].at, t.starts[i+1].at)
	}
	return t
}

// floor is the newest revision that anybody knew of before a moment.
func (t *times) floor(at int64) int64 {
	i := sort.Search(len(t.ends), func(i int) bool { return t.ends[i].at >= at })
	if i == 0 {
		return 0
	}
	return t.ends[i-1].rev
}

// seen is when somebody first saw that revision, or a newer one.
func (t *times) seen(rev int64) int64 {
	i := sort.Search(len(t.starts), func(i int) bool { return t.starts[i].rev >= rev })
	if i == len(t.starts) {
		return never
	}
	return t.starts[i].at
}

func (v *verdict) checkOp(h *history, t *times, o *op, landed map[*op]int64) {
	floor := t.floor(o.call)
	switch {
	case o.kind == "commit":
		v.checkCommit(h, t, o, floor, landed)
	case o.outcome == nothing:
	case o.kind == "list":
		if o.rev < floor {
			v.bad("stale: a list at revision %d began when %d was known: %v", o.rev, floor, o)
		}
		if want := h.state(o.key, o.rev); !slices.Equal(want, o.entries) {
			v.bad("list: of %s at revision %d is %v, the store was %v", o.key, o.rev, o.entries, want)
		}
	default:
		if o.kind == "get" {
			v.checkRead(h, o, floor)
		} else {
			v.checkRead(h, o, max(0, o.min))
		}
	}
}

// checkRead: what was read was there at some revision not older than the given one.
func (v *verdict) checkRead(h *history, o *op, oldest int64) {
	if o.outcome == notFound {
		for _, c := range h.versions[o.key] {
			if c.Deleted {
				if _, next := h.at(o.key, c.Rev); next == 0 || next > oldest {
					return
				}
			}
		}
		all := h.versions[o.key]
		if len(all) == 0 || all[0].Rev > oldest {
			return
		}
		v.bad("stale: %s was there from revision %d on: %v", o.key, oldest, o)
		return
	}
	now, next := h.at(o.key, o.rev)
	switch {
	case now.Rev != o.rev || now.Deleted || now.Value != o.value:
		v.bad("read: what was never there: %v, the store had %v", o, now)
	case next != 0 && next <= oldest:
		v.bad("stale: revision %d replaced it, and %d was known: %v", next, oldest, o)
	}
}

func (v *verdict) checkCommit(h *history, t *times, o *op, floor int64, landed map[*op]int64) {
	switch {
	case o.outcome == refused:
		v.checkRefused(h, o, floor)
		return
	case o.outcome == done && !h.wrote(o, o.rev):
		if !h.idle(o) {
			v.lost++
			v.bad("lost: acknowledged at revision %d, which is %v: %v", o.rev, h.revs[o.rev], o)
		}
		return
	}
	rev, ok := landed[o]
	switch {
	case !ok:
	case o.outcome == done && h.idle(o): // it may have been another that deleted, at the same revision
	case !h.wrote(o, rev):
		v.bad("commit: not all of it is at revision %d, which is %v: %v", rev, h.revs[rev], o)
	case rev <= floor:
		v.bad("commit: at revision %d, but it began when %d was known: %v", rev, floor, o)
	case t.seen(rev) < o.call:
		v.bad("commit: revision %d was seen before it began: %v", rev, o)
	}
}

// idle tells whether a commit had nothing to do: it deletes what is not there.
func (h *history) idle(o *op) bool {
	for _, w := range o.writes {
		now, _ := h.at(w.Key, o.rev)
		if !w.Delete || w.At > 0 || !now.Deleted {
			return false
		}
	}
	return true
}

func (v *verdict) checkRefused(h *history, o *op, floor int64) {
	key := strings.TrimPrefix(o.clash.Key, root)
	i := slices.IndexFunc(o.writes, func(w write) bool { return w.Key == key })
	if i < 0 || o.writes[i].At == o.clash.Have || o.writes[i].At == storage.AnyRev {
		v.bad("commit: refused for no reason: %v", o)
		return
	}
	read := *o
	read.key, read.value, read.outcome = key, "", done
	if o.clash.Have == 0 {
		read.outcome = notFound
	} else if now, _ := h.at(key, o.clash.Have); now.Rev == o.clash.Have && !now.Deleted {
		read.value = now.Value
	}
	v.checkRead(h, &read, floor)
}

// checkPorcupine has porcupine find, for each key, an order that explains everything.
func (v *verdict) checkPorcupine(w *work, landed map[*op]int64) {
	var all []porcupine.Operation
	for _, o := range w.ops {
		eachKey(o, landed, func(key string, in keyInput, out keyOutput) {
			in.key = key
			if slices.Contains(w.keys, key) { // not what the round before has left
				all = append(all, porcupine.Operation{ClientId: o.client, Input: in, Output: out, Call: o.call, Return: o.ret})
			}
		})
	}
	v.ordered += len(all)
	if result := porcupine.CheckOperationsTimeout(keyModel, all, checkLimit); result != porcupine.Ok {
		v.bad("porcupine: %s", result)
	}
}

// eachKey cuts an operation into what it means to each key.
func eachKey(o *op, landed map[*op]int64, add func(string, keyInput, keyOutput)) {
	switch {
	case o.outcome == nothing, o.kind == "getMin", o.kind == "getCached":
	case o.kind == "get":
		add(o.key, keyInput{op: "get"}, keyOutput{rev: o.rev, value: o.value})
	case o.kind == "list":
		for _, e := range o.entries {
			add(e.Key, keyInput{op: "get"}, keyOutput{rev: e.Rev, value: e.Value})
		}
	case o.outcome == refused:
		add(strings.TrimPrefix(o.clash.Key, root), keyInput{op: "refused", at: o.clash.Want}, keyOutput{rev: o.clash.Have})
	default:
		rev, ok := landed[o]
		if !ok {
			return // it had no effect, and no answer
		}
		for _, w := range o.writes {
			in := keyInput{op: "put", at: w.At, value: w.Value}
			if w.Delete {
				in.op = "delete"
			}
			add(w.Key, in, keyOutput{rev: rev})
		}
	}
}

type keyInput struct {
	key, op string // get, put, delete, refused
	at      int64
	value   string
}

type keyOutput struct {
	rev   int64 // 0 for a get: nothing there
	value string
}

type keyState struct {
	rev    int64 // 0: nothing there
	value  string
	newest int64
}

// keyModel is one key of the store. A write whose answer was lost, and which turned out to have had an effect, may have
// it at any time from its call on: it has no end.
var keyModel = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byKey := map[string][]porcupine.Operation{}
		for _, o := range history {
			key := o.Input.(keyInput).key
			byKey[key] = append(byKey[key], o)
		}
		var out [][]porcupine.Operation
		for _, ops := range byKey {
			out = append(out, ops)
		}
		return out
	},
	Init:              func() any { return keyState{} },
	Step:              func(s, in, out any) (bool, any) { return s.(keyState).step(in.(keyInput), out.(keyOutput)) },
	DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v -> %+v", in, out) },
}

func (s keyState) step(in keyInput, out keyOutput) (bool, keyState) {
	holds := in.at < 0 || in.at == s.rev
	switch {
	case in.op == "get":
		return out.rev == s.rev && out.value == s.value, s
	case in.op == "refused":
		return !holds && out.rev == s.rev, s
	case !holds:
		return false, s
	case in.op == "delete" && s.rev == 0:
		return true, s
	case out.rev <= s.newest:
		return false, s
	case in.op == "delete":
		return true, keyState{newest: out.rev}
	}
	return true, keyState{rev: out.rev, value: in.value, newest: out.rev}
}
