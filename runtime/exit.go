//go:build linux

package runtime

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/bedplate/bedplate/runtime/internal/cg"
	"github.com/bedplate/bedplate/runtime/internal/crash"
	"github.com/bedplate/bedplate/runtime/internal/engine"
	"github.com/bedplate/bedplate/runtime/internal/keeper"
	"github.com/bedplate/bedplate/runtime/internal/proc"
)

// exitRecord is what is stored of its end.
type exitRecord struct {
	ExitCode        int
	Signal          syscall.Signal
	OOMKilled       bool
	FinishedAt      time.Time
	Reason, Message string
}

// processOf gets hold of a container's process: nil if it has ended. It comes before anybody is told that it runs, so
// that whoever sees it can stop it.
//
// Where the kernel gives no handle for a while (too many open files), it asks again: a process that lives must not
// be taken for one that ended.
func (r *Runtime) processOf(run engine.Run) *proc.Process {
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		p, err := proc.Open(run.PID, run.StartTime)
		if err == nil {
			return p
		}
		if errors.Is(err, proc.ErrGone) {
			return nil
		}
		r.cfg.Log.Error("follow a container's process", "pid", run.PID, "err", err)
		select {
		case <-time.After(wait):
		case <-r.ctx.Done():
			return nil
		}
	}
}

// follow waits for a running container's end on a goroutine of its own.
func (r *Runtime) follow(c *container) {
	r.mu.Lock()
	p := c.proc
	r.mu.Unlock()
	r.wg.Go(func() {
		if p != nil {
			defer p.Close()
			if p.Wait(r.ctx) != nil {
				return
			}
		}
		if e, ok := r.exitOf(c); ok {
			r.finish(c, e)
		}
	})
}

// exitOf finds how a process that has ended did. It is false once the Runtime is closed.
func (r *Runtime) exitOf(c *container) (exitRecord, bool) {
	pid, start := c.status.PID, c.status.StartTime
	// Whoever reaps it writes the record before. So once it is gone there is one, or never
	// will be; and as long as it is not, a write tells us.
	const longest = 30 * time.Second
	deadline := time.Now().Add(longest)
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		changed := r.spool.Changed()
		now, _, err := proc.Stat(pid)
		gone := errors.Is(err, proc.ErrGone) || err == nil && now != start || orphaned(pid)
		rec, done, err := r.dir.Spool().Read(pid, start)
		if done {
			return r.exitFrom(c, rec.Exit, rec.At), true
		}
		if gone || err != nil || time.Now().After(deadline) {
			return exitRecord{
				ExitCode: 255, FinishedAt: time.Now(), Reason: ReasonExitCodeLost,
				Message: "no keeper lived when it ended",
			}, true
		}
		select {
		case <-changed:
		case <-time.After(wait):
		case <-r.ctx.Done():
			return exitRecord{}, false
		}
	}
}

// orphaned tells that a zombie's parent is none who would record its end. A parent without a command line is ending
// itself: the zombie falls to the keeper next.
func orphaned(pid int) bool {
	ppid, command, err := proc.Parent(pid)
	return err == nil && command != "" && ppid != os.Getpid() &&
		!strings.HasPrefix(command, keeper.Name) && !strings.HasPrefix(command, keeper.LauncherName)
}

func (r *Runtime) exitFrom(c *container, e proc.Exit, at time.Time) exitRecord {
	x := exitRecord{ExitCode: e.Code, Signal: e.Signal, FinishedAt: at, Reason: ReasonCompleted}
	if e.Code == 0 {
		return x
	}
	x.Reason = ReasonError
	if g, err := cg.Open(c.cgroup); err == nil && g.OOMKills() > 0 {
		x.OOMKilled, x.Reason = true, ReasonOOMKilled
	}
	return x
}

// finish records a container's end and tells everybody.
func (r *Runtime) finish(c *container, e exitRecord) {
	id := c.status.Spec.ID
	crash.At("exit.seen")
	if err := engine.Save(r.containerFile(id, containerExitFile), e); err != nil {
		r.cfg.Log.Error("record the end of a container", "container", id, "err", err)
	} else if c.status.PID != 0 {
		crash.At("exit.recorded")
		// The record is kept if ours could not be written: the next Open tries again.
		if err := r.dir.Spool().Remove(c.status.PID, c.status.StartTime); err != nil {
			r.cfg.Log.Error("record the end of a container", "container", id, "err", err)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	c.proc = nil
	c.exited(e)
	r.publish(EventExited, c)
}
