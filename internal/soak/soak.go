//go:build linux

package soak

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/etcd"
)

// Config configures a Run. Dir is required; the rest has defaults.
type Config struct {
	// Dir is an empty folder with a short path: sockets are in it.
	Dir string
	// For is how long to go on; the round that has begun by then is finished. Default: one round.
	For time.Duration
	// Round is how long clients work between two checks. Default 15 s.
	Round time.Duration
	// Seed makes the choices; where they meet is up to the machine. Default: a random one.
	Seed uint64
	// Out hears of each round. Nil: nobody.
	Out io.Writer
}

const (
	clients      = 12
	watchers     = 8
	members      = 3
	compactEvery = 100 * time.Millisecond
	mendLimit    = 2 * time.Minute
)

// run is one Run.
type run struct {
	c      Config
	report *Report
	random *rand.Rand
	*cluster
	remote *dbDoor // a DB of this process over all members
}

// Run soaks three members. The report holds what was wrong; the error says that the soak itself could not go on. It
// needs root, for the members' network namespaces.
func Run(ctx context.Context, c Config) (*Report, error) {
	if c.Seed == 0 {
		c.Seed = rand.Uint64()
	}
	if c.Round == 0 {
		c.Round = 15 * time.Second
	}
	if c.Out == nil {
		c.Out = io.Discard
	}
	r := &run{c: c, random: rand.New(rand.NewPCG(c.Seed, 0)), report: &Report{Seed: c.Seed, Faults: map[string]int{}}}
	begin := time.Now()
	err := r.run(ctx)
	r.report.Took = time.Since(begin)
	if err != nil {
		err = fmt.Errorf("soak with seed %d: %w", c.Seed, err)
	}
	return r.report, err
}

func (r *run) run(ctx context.Context) (err error) {
	begin := time.Now()
	if r.cluster, err = newCluster(ctx, r.c.Dir, members); err != nil {
		return err
	}
	defer r.cluster.close()
	backend, err := etcd.New(r.all, etcd.Config{})
	if err != nil {
		return err
	}
	db, err := storage.New(backend, storage.Config{Window: 2_000, Wait: time.Second})
	if err != nil {
		return err
	}
	dbCtx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- db.Run(dbCtx) }()
	defer func() {
		cancel()
		err = errors.Join(err, <-ended)
	}()
	if r.remote, err = newDBDoor(db); err != nil {
		return err
	}
	for n := 1; ; n++ {
		problems, err := r.round(ctx, n)
		r.report.Rounds = n
		r.report.Problems = append(r.report.Problems, problems...)
		if err != nil || len(problems) > 0 || time.Since(begin) >= r.c.For {
			return err
		}
		fmt.Fprintf(r.c.Out, "after %s:\n", time.Since(begin).Round(time.Second))
		r.report.Took = time.Since(begin)
		fmt.Fprintln(r.c.Out, r.report)
	}
}

// round works, breaks, mends and checks.
func (r *run) round(ctx context.Context, n int) ([]string, error) {
	base, before, err := r.everything(ctx)
	if err != nil {
		return nil, err
	}
	h := newHistory(base, before)
	w := newWork(fmt.Sprintf("r%d", n), r.random.Uint64(), 4*time.Millisecond)
	recording, stopRecording := context.WithCancel(ctx)
	var recorders sync.WaitGroup
	defer recorders.Wait()
	defer stopRecording()
	for _, m := range r.members {
		recorders.Go(func() { h.record(recording, m.etcd) })
	}
	watching, stopWatching := context.WithCancel(ctx)
	var watches sync.WaitGroup
	defer watches.Wait()
	defer stopWatching()
	for id := range watchers {
		watches.Go(func() { w.watch(watching, id, r.opener(id)) })
	}
	if err := r.work(ctx, w, h); err != nil {
		return nil, err
	}
	v := &verdict{}
	settled, cancel := context.WithTimeout(ctx, mendLimit)
	defer cancel()
	last := r.lists(settled, v)
	end, _, err := r.everything(settled) // writes without an answer may have come to pass only now
	if err != nil {
		return nil, err
	}
	if err := h.await(settled, end); err != nil {
		return nil, err
	}
	w.awaitWatchers(settled, end, v)
	stopWatching()
	watches.Wait()
	stopRecording()
	recorders.Wait()
	checked := w.check(h)
	v.problems = append(v.problems, checked.problems...)
	r.report.c.add(checked.counts)
	for _, m := range last {
		if want := h.state(m.table, m.Rev); !slices.Equal(want, m.Entries) {
			v.bad("member %d: holds %v at revision %d, and should hold %v", m.member, m.Entries, m.Rev, want)
		}
	}
	r.checkHashes(settled, end, v)
	return v.problems, r.clean(ctx, w)
}

// work lets clients, faults and compactions happen together, and mends all at the end.
func (r *run) work(ctx context.Context, w *work, h *history) error {
	working, stop := context.WithTimeout(ctx, r.c.Round)
	defer stop()
	var all sync.WaitGroup
	for id := range clients {
		all.Go(func() { w.client(working, id, r.opener(id)) })
	}
	all.Go(func() { r.compact(working, h) })
	faultErr := r.faults(working)
	all.Wait()
	mending, cancel := context.WithTimeout(ctx, mendLimit)
	defer cancel()
	return errors.Join(faultErr, r.mend(mending))
}

// opener gives a client a door: a quarter of them the DB of this process, the others a member of their own choice.
func (r *run) opener(id int) func(*rand.Rand) door {
	if id%4 == 3 {
		return func(*rand.Rand) door { return r.remote }
	}
	return func(random *rand.Rand) door { return &socketDoor{path: r.members[random.IntN(members)].c.Socket} }
}

// compact forgets all but the last few revisions, again and again. What the history has not seen stays.
func (r *run) compact(ctx context.Context, h *history) {
	random := rand.New(rand.NewPCG(r.c.Seed, 2))
	last := h.base
	for pause(ctx, compactEvery) {
		whole, _ := h.upTo()
		rev := whole - random.Int64N(20)
		if rev <= last {
			continue
		}
		one, cancel := context.WithTimeout(ctx, time.Second)
		if _, err := r.all.Compact(one, rev); err == nil { // an error: no leader just now
			last = rev
			r.report.Compactions++
		}
		cancel()
	}
}

// everything reads all there is, linearizable.
func (r *run) everything(ctx context.Context) (rev int64, all []change, err error) {
	ctx, cancel := context.WithTimeout(ctx, mendLimit)
	defer cancel()
	for {
		one, done := context.WithTimeout(ctx, 5*time.Second)
		resp, err := r.all.Get(one, "\x00", clientv3.WithRange("\x00"))
		done()
		if err == nil {
			for _, kv := range resp.Kvs {
				all = append(all, change{Key: strings.TrimPrefix(string(kv.Key), root), Value: string(kv.Value), Rev: kv.ModRevision})
			}
			return resp.Header.Revision, all, nil
		}
		if !pause(ctx, 5*pauseShort) {
			return 0, nil, fmt.Errorf("read everything: %w%s", err, r.logs())
		}
	}
}

// awaitWatchers gives watchers time to be told all.
func (w *work) awaitWatchers(ctx context.Context, end int64, v *verdict) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		behind := ""
		w.mu.Lock()
		for i, m := range w.watchers {
			// One without bookmarks is not told of what it does not select.
			if rev := m.rev.Load(); rev < end && m.marks {
				behind = fmt.Sprintf("watcher %d is at revision %d, the store at %d, all is mended", i, rev, end)
			}
		}
		w.mu.Unlock()
		if behind == "" {
			return
		}
		if !pause(ctx, pauseShort) {
			v.bad("watch: %s", behind)
			return
		}
	}
}

// memberListing is what a member has in a table.
type memberListing struct {
	listing
	member int
	table  string
}

// lists reads all tables of all members, when all is mended.
func (r *run) lists(ctx context.Context, v *verdict) (all []memberListing) {
	for _, m := range r.members {
		d := &socketDoor{path: m.c.Socket}
		for _, table := range tables {
			l, err := d.List(ctx, table, 0)
			for err != nil && pause(ctx, 5*pauseShort) { // it may be behind for a moment yet
				l, err = d.List(ctx, table, 0)
			}
			if err != nil {
				v.bad("member %d: after all is mended: %v", m.n, err)
				continue
			}
			all = append(all, memberListing{l, m.n, table})
		}
		d.Close()
	}
	return all
}

// checkHashes sees that all members hold the same.
func (r *run) checkHashes(ctx context.Context, rev int64, v *verdict) {
	hashes, err := r.sameHashes(ctx, rev)
	if err != nil {
		v.bad("hash: %v", err)
	} else if len(slices.Compact(slices.Clone(hashes))) != 1 {
		v.bad("hash: members differ at revision %d: %v", rev, hashes)
	}
}

// sameHashes asks until all members have finished the last compaction: a hash begins where that ended.
func (r *run) sameHashes(ctx context.Context, rev int64) ([]string, error) {
	for {
		hashes, err := r.hashes(ctx, rev)
		same := err == nil
		for _, h := range hashes {
			same = same && h[strings.Index(h, " from "):] == hashes[0][strings.Index(hashes[0], " from "):]
		}
		if same || !pause(ctx, 5*pauseShort) {
			return hashes, err
		}
	}
}

// clean deletes what the round has left.
func (r *run) clean(ctx context.Context, w *work) error {
	for _, key := range w.keys {
		one, cancel := context.WithTimeout(ctx, 30*time.Second)
		_, err := r.all.Delete(one, root+key)
		cancel()
		if err != nil {
			return fmt.Errorf("delete %s: %w", key, err)
		}
	}
	return nil
}
