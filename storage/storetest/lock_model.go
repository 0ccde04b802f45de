package storetest

import (
	"errors"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/bedplate/bedplate/storage"
)

// testFencedCounter moves a counter by reading it and writing one more, in processes that are paused for
// longer than their lock lasts. With the fence no step is ever lost or done twice. Without it, which is the
// known bug, the same run goes wrong: so it would be seen.
func testFencedCounter(e *env) {
	if _, ok := e.leaser(); !ok {
		return
	}
	acked, history := newCounter(e, "fenced").run(true)
	e.Len(history, acked)
	e.True(counts(history), "fenced: %v", history)
	acked, history = newCounter(e, "bare").run(false)
	e.Len(history, acked)
	e.False(counts(history), "without a fence nothing went wrong: the test sees nothing: %v", history)
}

// counts tells whether the values are 1, 2, 3 and so on.
func counts(history []int) bool {
	for i, v := range history {
		if v != i+1 {
			return false
		}
	}
	return true
}

const (
	counterProcesses = 3
	counterSteps     = 40 // at least
	counterPauses    = 4
)

// counter is a run of several processes.
type counter struct {
	*env
	name string

	mu     sync.Mutex
	moved  chan struct{} // closed and replaced with each step
	acked  int
	paused bool // one at a time: somebody must go on
	pauses int
}

func newCounter(e *env, name string) *counter {
	return &counter{env: e, name: name, moved: make(chan struct{})}
}

// run returns how many steps were acknowledged, and all values that the counter had.
func (c *counter) run(fence bool) (acked int, history []int) {
	db := c.db(storage.Config{Prefix: "/registry/" + c.name + "/"})
	t := c.table(db, storage.Schema{Prefix: "/registry/" + c.name + "/counter/"})
	start, err := t.Snapshot(c.ctx, 0, false)
	c.NoError(err)
	w := c.watch(t, start.Rev(), storage.Filter{})
	var wg sync.WaitGroup
	for i := range counterProcesses {
		seed := time.Now().UnixNano() + int64(i)
		c.Logf("%s: process %d has seed %d", c.name, i, seed)
		p := &counterProcess{counter: c, m: c.machine(), rand: rand.New(rand.NewPCG(uint64(seed), 0)), fence: fence}
		p.db = c.dbOn(p.m, storage.Config{Prefix: "/registry/" + c.name + "/"})
		p.t = c.table(p.db, storage.Schema{Prefix: "/registry/" + c.name + "/counter/"})
		p.locks = c.locks(p.db, storage.LocksConfig{TTL: time.Second})
		wg.Go(func() {
			if err := p.run(); err != nil {
				c.T.Errorf("process %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	for len(history) < c.acked {
		events, err := w.Next(c.ctx)
		c.NoError(err)
		for _, ev := range events {
			v, err := strconv.Atoi(string(ev.New.Raw))
			c.NoError(err)
			history = append(history, v)
		}
	}
	return c.acked, history
}

func (c *counter) finished() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.paused && c.enough()
}

func (c *counter) enough() bool { return c.pauses >= counterPauses && c.acked >= counterSteps }

func (c *counter) step() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.acked++
	close(c.moved)
	c.moved = make(chan struct{})
}

// mayPause reserves the pause, and returns what tells of the next step of another, and how many pauses there
// were; 0: it may not.
func (c *counter) mayPause() (<-chan struct{}, int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.paused || c.enough() { // nobody may be left to go on
		return nil, 0
	}
	c.paused = true
	c.pauses++
	return c.moved, c.pauses
}

func (c *counter) goesOn() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.paused = false
}

// counterProcess is a process that never looks whether its lock is lost.
type counterProcess struct {
	*counter
	m     *machine
	rand  *rand.Rand
	fence bool
	db    *storage.DB
	t     *storage.Table
	locks *storage.Locks
}

func (p *counterProcess) run() error {
	for !p.finished() {
		k, err := p.locks.Acquire(p.ctx, "counter")
		if err != nil {
			return err
		}
		if err := p.move(k); err != nil {
			return err
		}
		if err := k.Release(p.ctx); err != nil && !errors.Is(err, storage.ErrLockLost) {
			return err
		}
	}
	return nil
}

// move reads, is paused perhaps, and writes.
func (p *counterProcess) move(k *storage.Lock) error {
	value := 0
	switch e, err := p.t.Get(p.ctx, "n", 0); {
	case err == nil:
		if value, err = strconv.Atoi(string(e.Raw)); err != nil {
			return err
		}
	case !errors.Is(err, storage.ErrNotFound):
		return err
	}
	if p.rand.IntN(4) == 0 {
		if err := p.sleep(k); err != nil {
			return err
		}
	}
	w := storage.Write{Table: p.t, Key: "n", Value: strconv.AppendInt(nil, int64(value+1), 10), At: storage.AnyRev}
	if p.fence {
		w.If = []storage.Cond{k.Fence()}
	}
	_, err := p.db.Commit(p.ctx, w)
	switch {
	case err == nil:
		p.step()
	case !errors.Is(err, storage.ErrConflict):
		return err
	}
	return nil
}

// sleep pauses the process until its lease has ended, by time or before it, and another has made a step.
func (p *counterProcess) sleep(k *storage.Lock) error {
	moved, n := p.mayPause()
	if n == 0 {
		return nil
	}
	defer p.goesOn()
	p.m.pause()
	defer p.m.resume()
	if n > 1 { // the first one ends by time
		if err := p.revoke(k.Fence().Key); err != nil && !errors.Is(err, storage.ErrNotFound) {
			return err
		}
	}
	select {
	case <-moved:
		return nil
	case <-p.ctx.Done():
		return p.ctx.Err()
	}
}
