//go:build linux

package soak

import (
	"context"
	"fmt"
	"syscall"
	"time"
)

// fault breaks one member and mends it; it returns when ctx ends, too, and leaves the mending to others then.
type fault struct {
	name string
	do   func(ctx context.Context, r *run, m *member) error
}

var faults = []fault{
	{"killed", func(ctx context.Context, r *run, m *member) error {
		m.life().kill()
		return r.again(ctx, m)
	}},
	{"stopped for a while", func(ctx context.Context, r *run, m *member) error {
		if err := m.life().signal(syscall.SIGSTOP); err != nil {
			return err
		}
		pause(ctx, r.between(100*time.Millisecond, 2000*time.Millisecond))
		return m.life().signal(syscall.SIGCONT)
	}},
	{"cut off for a while", func(ctx context.Context, r *run, m *member) error {
		if err := r.net.plug(m.n, false); err != nil {
			return err
		}
		pause(ctx, r.between(100*time.Millisecond, 2000*time.Millisecond))
		return r.net.plug(m.n, true)
	}},
	{"cut off and killed", func(ctx context.Context, r *run, m *member) error {
		if err := r.net.plug(m.n, false); err != nil {
			return err
		}
		pause(ctx, r.between(100*time.Millisecond, time.Second))
		m.life().kill()
		if err := r.net.plug(m.n, true); err != nil {
			return err
		}
		return r.again(ctx, m)
	}},
}

func (r *run) between(a, b time.Duration) time.Duration {
	return a + time.Duration(r.random.Int64N(int64(b-a)))
}

// again starts a member that was killed, after a while, and waits until it is there.
func (r *run) again(ctx context.Context, m *member) error {
	pause(ctx, r.between(0, 800*time.Millisecond))
	if err := m.start(r.net); err != nil {
		return err
	}
	err := m.life().await(ctx, startLimit)
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("start m%d again: %w%s", m.n, err, r.logs())
	}
	return nil
}

// faults breaks one member after the other until ctx ends, every other time the leader; and now and then all at once.
func (r *run) faults(ctx context.Context) error {
	for n := r.random.IntN(len(faults)); pause(ctx, r.between(100*time.Millisecond, 500*time.Millisecond)); n++ {
		if n%11 == 10 {
			if err := r.killAll(ctx); err != nil {
				return err
			}
			continue
		}
		f, who := faults[n%len(faults)], r.random.IntN(members)
		name := f.name
		if leader := r.leader(ctx); r.random.IntN(2) == 0 && leader >= 0 {
			who = leader
		}
		if who == r.leader(ctx) {
			name = "leader " + name
		} else {
			name = "member " + name
		}
		if ctx.Err() != nil {
			return nil
		}
		r.report.Faults[name]++
		if err := f.do(ctx, r, r.members[who]); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) killAll(ctx context.Context) error {
	r.report.Faults["all killed at once"]++
	for _, m := range r.members {
		_ = m.life().signal(syscall.SIGKILL)
	}
	for _, m := range r.members {
		m.life().kill()
		if err := m.start(r.net); err != nil {
			return err
		}
	}
	for _, m := range r.members {
		if err := m.life().await(ctx, startLimit); err != nil && ctx.Err() == nil {
			return fmt.Errorf("start m%d after all were killed: %w%s", m.n, err, r.logs())
		}
	}
	return nil
}
