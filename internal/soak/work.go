//go:build linux

package soak

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/bedplate/bedplate/storage"
)

// op is one operation: what was asked, when, and what came back.
type op struct {
	client    int
	kind      string // get, getMin, getCached, list, commit
	key       string // of a get; the table of a list
	min       int64
	writes    []write
	call, ret int64 // nanoseconds since the round began; ret is never for an unknown outcome

	outcome outcome
	rev     int64 // of the commit, the list, or what was read; of a conflict, what the key is at
	clash   *storage.ConflictError
	value   string
	entries []entry
}

type outcome int

const (
	done     outcome = iota
	refused          // a conflict: nothing was written
	unknown          // a commit without an answer
	nothing          // a read without an answer, or a commit that was never sent
	notFound         // a read of what is not there
)

const never = int64(1) << 62

func (o *op) String() string {
	return fmt.Sprintf("client %d %s %s min %d %v: outcome %d rev %d %.20q %v, from %s to %s", o.client, o.kind, o.key, o.min, o.writes,
		o.outcome, o.rev, o.value, o.clash, time.Duration(o.call), time.Duration(o.ret))
}

// work is what clients and watchers of one round do and see.
type work struct {
	name  string // distinguishes the keys and values of rounds
	seed  uint64
	begin time.Time
	keys  []string
	think time.Duration

	mu       sync.Mutex
	ops      []*op
	watchers []*watching
}

const (
	opTimeout  = 1500 * time.Millisecond
	pauseShort = 20 * time.Millisecond
)

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func newWork(name string, seed uint64, think time.Duration) *work {
	w := &work{name: name, seed: seed, begin: time.Now(), think: think}
	for i := range 20 {
		table := tables[0]
		if i%3 == 2 {
			table = tables[1]
		}
		w.keys = append(w.keys, fmt.Sprintf("%s%s-%02d", table, name, i))
	}
	return w
}

func (w *work) now() int64 { return int64(time.Since(w.begin)) }

// client works until ctx ends, through a door that open gives it; where that fails, through another.
func (w *work) client(ctx context.Context, id int, open func(r *rand.Rand) door) {
	c := &client{w: w, id: id, random: rand.New(rand.NewPCG(w.seed, uint64(id))), seen: map[string]int64{}}
	d := open(c.random)
	defer func() { d.Close() }()
	var ops []*op
	for ctx.Err() == nil {
		o := c.next()
		c.do(ctx, d, o)
		ops = append(ops, o)
		if o.outcome == unknown || o.outcome == nothing {
			d.Close()
			d = open(c.random)
			pause(ctx, pauseShort)
		}
		if w.think > 0 {
			pause(ctx, time.Duration(c.random.Int64N(int64(w.think))))
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ops = append(w.ops, ops...)
}

type client struct {
	w      *work
	id     int
	n      int
	random *rand.Rand
	seen   map[string]int64 // the revision of each key as last heard of
	newest int64
}

// next makes up an operation.
func (c *client) next() *op {
	o := &op{client: c.id, key: c.anyKey()}
	switch n := c.random.IntN(100); {
	case n < 25:
		o.kind = "get"
	case n < 35:
		o.kind, o.min = "getMin", c.newest
	case n < 40:
		o.kind, o.min = "getCached", storage.Cached
	case n < 47:
		o.kind, o.key = "list", tables[c.random.IntN(2)]
	case n < 82:
		o.kind, o.writes = "commit", []write{c.write(o.key)}
	default:
		o.kind, o.writes = "commit", []write{c.write(o.key)}
		if other := c.anyKey(); other != o.key {
			o.writes = append(o.writes, c.write(other))
		}
	}
	return o
}

func (c *client) anyKey() string { return c.w.keys[c.random.IntN(len(c.w.keys))] }

func (c *client) write(key string) write {
	c.n++
	w := write{Key: key, At: c.seen[key], Value: fmt.Sprintf("%s.%d.%d", c.w.name, c.id, c.n)}
	switch n := c.random.IntN(100); {
	case n < 15:
		w.At = storage.AnyRev
	case n < 25:
		w.Delete, w.Value = true, ""
		if w.At == 0 {
			w.At = storage.AnyRev
		}
	case n < 28:
		w.Value += strings.Repeat("x", c.random.IntN(4096))
	}
	return w
}

func (c *client) do(ctx context.Context, d door, o *op) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), opTimeout)
	defer cancel()
	var err error
	o.call = c.w.now()
	switch o.kind {
	case "commit":
		o.rev, err = d.Commit(ctx, o.writes)
	case "list":
		var l listing
		l, err = d.List(ctx, o.key, o.min)
		o.rev, o.entries = l.Rev, l.Entries
	default:
		var e entry
		e, err = d.Get(ctx, o.key, o.min)
		o.rev, o.value = e.Rev, e.Value
	}
	o.ret = c.w.now()
	c.judge(o, err)
}

// judge notes what came of an operation.
func (c *client) judge(o *op, err error) {
	commit := o.kind == "commit"
	switch {
	case err == nil:
		o.outcome = done
		c.learn(o)
	case errors.Is(err, storage.ErrNotFound):
		o.outcome, o.rev = notFound, 0
		c.seen[o.key] = 0
	case commit && errors.As(err, &o.clash):
		o.outcome, o.rev = refused, o.clash.Have
		c.seen[strings.TrimPrefix(o.clash.Key, root)] = o.clash.Have
	case commit && !errors.Is(err, errNobody):
		o.outcome, o.ret, o.rev = unknown, never, 0
	default:
		o.outcome, o.rev = nothing, 0
	}
}

func (c *client) learn(o *op) {
	c.newest = max(c.newest, o.rev)
	switch o.kind {
	case "commit":
		for _, w := range o.writes {
			c.seen[w.Key] = o.rev
			if w.Delete {
				c.seen[w.Key] = 0
			}
		}
	case "list":
		for _, e := range o.entries {
			c.seen[e.Key] = e.Rev
		}
	default:
		c.seen[o.key] = o.rev
	}
}
