//go:build linux

package runtime

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/bedplate/bedplate/runtime/internal/cg"
	"github.com/bedplate/bedplate/runtime/internal/crash"
	"github.com/bedplate/bedplate/runtime/internal/proc"
)

// Wait returns once the container has exited, with its final status. Errors are ErrNotFound,
// ErrClosed and ctx's.
func (r *Runtime) Wait(ctx context.Context, id string) (ContainerStatus, error) {
	c, err := r.find(id)
	if err != nil {
		return ContainerStatus{}, err
	}
	select {
	case <-c.done:
		return r.statusOf(c), nil
	case <-ctx.Done():
		return ContainerStatus{}, fmt.Errorf("wait for container %s: %w", id, context.Cause(ctx))
	case <-r.ctx.Done():
		return ContainerStatus{}, fmt.Errorf("wait for container %s: %w", id, ErrClosed)
	}
}

// KillContainer sends a signal to the container's first process; SIGKILL goes to all of its
// processes where they don't end with the first. Errors are ErrNotFound and, if it doesn't
// run, ErrState.
func (r *Runtime) KillContainer(id string, sig syscall.Signal) error {
	c, err := r.find(id)
	if err != nil {
		return err
	}
	r.mu.Lock()
	p, state := c.proc, c.status.State
	r.mu.Unlock()
	if p == nil {
		return fmt.Errorf("kill container %s: %w: it is %s", id, ErrState, state)
	}
	if err := p.Signal(sig); err != nil && !errors.Is(err, proc.ErrGone) && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("kill container %s: %w", id, err)
	}
	if sig != syscall.SIGKILL || c.private {
		return nil
	}
	g, err := cg.Open(c.cgroup)
	if err == nil {
		err = g.Kill(killPatience)
	}
	if err != nil {
		return fmt.Errorf("kill container %s: %w", id, err)
	}
	return nil
}

// killPatience is how long killed processes may take to end.
const killPatience = 10 * time.Second

// StopContainer ends a running container: its stop signal, and SIGKILL after grace (at once if
// that isn't positive). It returns when it has exited. Of one that doesn't run it is a
// no-op. When ctx ends during grace there is no SIGKILL. Errors are ErrNotFound, ErrClosed
// and ctx's.
func (r *Runtime) StopContainer(ctx context.Context, id string, grace time.Duration) error {
	c, err := r.find(id)
	if err != nil {
		return err
	}
	st := r.statusOf(c)
	if st.State != StateRunning {
		return nil
	}
	if grace > 0 {
		sig := cmp.Or(st.Spec.StopSignal, syscall.SIGTERM)
		if err := r.KillContainer(id, sig); err != nil && !errors.Is(err, ErrState) {
			return err
		}
		stopped, err := r.ends(ctx, c, grace)
		if stopped || err != nil {
			return err
		}
	}
	if err := r.KillContainer(id, syscall.SIGKILL); err != nil && !errors.Is(err, ErrState) {
		return err
	}
	crash.At("stop.killed")
	stopped, err := r.ends(ctx, c, killPatience+time.Minute)
	if err == nil && !stopped {
		err = fmt.Errorf("stop container %s: it does not end after SIGKILL", id)
	}
	return err
}

// ends waits for a container's end, for at most patience.
func (r *Runtime) ends(ctx context.Context, c *container, patience time.Duration) (bool, error) {
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case <-c.done:
		return true, nil
	case <-t.C:
		return false, nil
	case <-ctx.Done():
		return false, fmt.Errorf("stop container %s: %w", c.status.Spec.ID, context.Cause(ctx))
	case <-r.ctx.Done():
		return false, fmt.Errorf("stop container %s: %w", c.status.Spec.ID, ErrClosed)
	}
}
