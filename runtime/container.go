//go:build linux

package runtime

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/bedplate/bedplate/runtime/internal/cg"
	"github.com/bedplate/bedplate/runtime/internal/crash"
	"github.com/bedplate/bedplate/runtime/internal/engine"
	"github.com/bedplate/bedplate/runtime/internal/launcher"
	"github.com/bedplate/bedplate/runtime/internal/proc"
)

// container is what is known of a container. Guarded by Runtime.mu but for op and done.
type container struct {
	status  ContainerStatus
	cgroup  string
	private bool          // has a PID namespace of its own
	op      chan struct{} // taken by who creates, starts or removes it
	done    chan struct{} // closed once it has exited
	proc    *proc.Process // while it runs
	made    bool
}

// containerRecord is what is stored of a container by who created it.
type containerRecord struct {
	Format    int
	Spec      ContainerSpec
	CreatedAt time.Time
	Cgroup    string
	Private   bool
	Warnings  []string
}

const (
	containerSpecFile = "spec.json"
	containerExitFile = "exit.json"
)

func (r *Runtime) containerFile(id, name string) string {
	return filepath.Join(r.dir.Container(id), name)
}

// CreateContainer records a container, checked and ready to start. Nothing runs, and the root
// file system need not exist yet. Errors are ErrInvalid, ErrUnsupported, ErrExists,
// ErrNotFound for its sandbox, ErrClosed, and those of the file system.
func (r *Runtime) CreateContainer(ctx context.Context, spec ContainerSpec) (ContainerStatus, error) {
	st, err := r.createContainer(ctx, spec)
	if err != nil {
		return ContainerStatus{}, fmt.Errorf("create container %s: %w", spec.ID, err)
	}
	return st, nil
}

func (r *Runtime) createContainer(ctx context.Context, spec ContainerSpec) (ContainerStatus, error) {
	if err := errors.Join(spec.validate(), ctx.Err()); err != nil {
		return ContainerStatus{}, err
	}
	c := &container{op: make(chan struct{}, 1), done: make(chan struct{})}
	c.op <- struct{}{}
	defer func() { <-c.op }()
	sb, err := r.reserve(spec, c)
	if err != nil {
		return ContainerStatus{}, err
	}
	defer r.wg.Done()
	rec, b, err := r.prepare(spec, sb)
	if err == nil {
		err = r.record(rec, b)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		if s := r.sandboxes[spec.SandboxID]; s == nil || !s.made {
			err = fmt.Errorf("sandbox %s: %w", spec.SandboxID, ErrNotFound)
			_ = os.RemoveAll(r.dir.Container(spec.ID))
		}
	}
	if err != nil {
		delete(r.containers, spec.ID)
		return ContainerStatus{}, err
	}
	c.adopt(rec)
	r.publish(EventCreated, c)
	return c.status, nil
}

// reserve takes the ID.
func (r *Runtime) reserve(spec ContainerSpec, c *container) (SandboxStatus, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	sb := r.sandboxes[spec.SandboxID]
	switch {
	case r.closed:
		return SandboxStatus{}, ErrClosed
	case r.containers[spec.ID] != nil:
		return SandboxStatus{}, ErrExists
	case sb == nil || !sb.made:
		return SandboxStatus{}, fmt.Errorf("sandbox %s: %w", spec.SandboxID, ErrNotFound)
	case !sb.status.Ready:
		return SandboxStatus{}, fmt.Errorf("%w: sandbox %s lost its namespaces when the machine restarted: remove it", ErrState, spec.SandboxID)
	}
	r.containers[spec.ID] = c
	r.wg.Add(1)
	return sb.status, nil
}

// prepare resolves a spec into what is stored of it.
func (r *Runtime) prepare(spec ContainerSpec, sb SandboxStatus) (containerRecord, engine.Bundle, error) {
	m, err := thisMachine(spec)
	if err != nil {
		return containerRecord{}, engine.Bundle{}, err
	}
	v := sandboxView{
		SandboxStatus: sb, Ns: r.sandboxFile(spec.SandboxID, sandboxNsDir), Shm: "/dev/shm",
		Cgroup: cg.Join(sb.CgroupPath, spec.ID),
	}
	if !sb.Spec.HostIPC {
		v.Shm = r.sandboxFile(spec.SandboxID, sandboxShmDir)
	}
	oci, warnings := ociSpec(spec, v, m)
	filter := spec.Seccomp
	if filter.Mode == SeccompInherit {
		filter = r.cfg.Seccomp
	}
	if spec.Privileged {
		filter = Seccomp{Mode: SeccompUnconfined}
	}
	if oci.Linux.Seccomp, err = loadSeccomp(filter, oci); err != nil {
		return containerRecord{}, engine.Bundle{}, err
	}
	rec := containerRecord{
		Format: format, Spec: spec, CreatedAt: time.Now(), Cgroup: v.Cgroup, Private: !sb.Spec.HostPID, Warnings: warnings,
	}
	const usualBytes, usualFiles = 10 << 20, 5
	return rec, engine.Bundle{
		Spec: oci, TTY: spec.TTY, Stdin: spec.Stdin, LogPath: spec.Log.Path,
		LogBytes: cmp.Or(spec.Log.MaxBytes, usualBytes), LogFiles: cmp.Or(spec.Log.MaxFiles, usualFiles),
	}, nil
}

// record stores a container, whole or not at all.
func (r *Runtime) record(rec containerRecord, b engine.Bundle) error {
	id := rec.Spec.ID
	tmp := "." + id // no ID begins so
	if err := os.Mkdir(r.dir.Container(tmp), 0o700); err != nil {
		return err
	}
	err := errors.Join(r.dir.SaveBundle(tmp, b), engine.Save(r.containerFile(tmp, containerSpecFile), rec))
	crash.At("container.written")
	if err == nil {
		err = os.Rename(r.dir.Container(tmp), r.dir.Container(id))
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(r.dir.Container(tmp)))
	}
	crash.At("container.recorded")
	return nil
}

func (c *container) adopt(rec containerRecord) {
	c.status = ContainerStatus{Spec: rec.Spec, State: StateCreated, CreatedAt: rec.CreatedAt, Warnings: rec.Warnings}
	c.cgroup, c.private, c.made = rec.Cgroup, rec.Private, true
}

// loadContainer adopts a container: created, running or exited.
func (r *Runtime) loadContainer(id string) error {
	var rec containerRecord
	if err := engine.Load(r.containerFile(id, containerSpecFile), &rec); err != nil || rec.Spec.ID != id {
		r.cfg.Log.Info("removing a container that was not finished", "container", id, "err", err)
		return os.RemoveAll(r.dir.Container(id))
	}
	c := &container{op: make(chan struct{}, 1), done: make(chan struct{})}
	c.adopt(rec)
	r.containers[id] = c
	run, err := r.dir.Run(id)
	if errors.Is(err, os.ErrNotExist) {
		// Nothing, or a start that never came to running a command.
		if err := engine.Clean(r.dir, id, c.cgroup); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	if err == nil {
		c.started(run)
	}
	var exit exitRecord
	err = engine.Load(r.containerFile(id, containerExitFile), &exit)
	switch {
	case err == nil:
		c.exited(exit)
		return nil
	case !errors.Is(err, os.ErrNotExist):
		return err
	case c.status.State == StateRunning:
		return r.loadRunning(c, run)
	}
	return nil
}

func (r *Runtime) loadRunning(c *container, run engine.Run) error {
	if run.Boot != r.boot {
		r.finish(c, exitRecord{ExitCode: 255, FinishedAt: time.Now(), Reason: ReasonExitCodeLost, Message: "the machine restarted"})
		return nil
	}
	c.proc = r.processOf(run)
	r.follow(c)
	return nil
}

func (c *container) started(run engine.Run) {
	c.status.State, c.status.PID, c.status.StartTime, c.status.StartedAt = StateRunning, run.PID, run.StartTime, run.StartedAt
	c.status.Warnings = slices.Concat(c.status.Warnings, run.Warnings)
}

func (c *container) exited(e exitRecord) {
	st := &c.status
	st.State = StateExited
	st.ExitCode, st.Signal, st.OOMKilled, st.FinishedAt, st.Reason, st.Message = e.ExitCode, e.Signal, e.OOMKilled, e.FinishedAt, e.Reason, e.Message
	close(c.done)
}

// acquire finds a container and waits until nobody else works on it.
func (r *Runtime) acquire(ctx context.Context, id string) (*container, func(), error) {
	c, err := r.find(id)
	if err != nil {
		return nil, nil, err
	}
	if err := take(ctx, c.op); err != nil {
		return nil, nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closed:
		err = ErrClosed
	case r.containers[id] != c:
		err = ErrNotFound
	default:
		r.wg.Add(1)
		return c, func() { <-c.op; r.wg.Done() }, nil
	}
	<-c.op
	return nil, nil, err
}

func (r *Runtime) find(id string) (*container, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.containers[id]
	if c == nil || !c.made {
		return nil, fmt.Errorf("container %s: %w", id, ErrNotFound)
	}
	return c, nil
}

func (r *Runtime) statusOf(c *container) ContainerStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	return c.status
}

// StartContainer runs a created container's command. When ctx ends first, the start goes on,
// and Container tells what came of it. Errors are StartError, ErrNotFound, ErrState if it was
// started before, ErrClosed, and those of the connection to the launcher.
func (r *Runtime) StartContainer(ctx context.Context, id string) error {
	c, release, err := r.acquire(ctx, id)
	if err != nil {
		return fmt.Errorf("start container %s: %w", id, err)
	}
	if st := r.statusOf(c); st.State != StateCreated {
		release()
		return fmt.Errorf("start container %s: %w: it is %s", id, ErrState, st.State)
	}
	done := make(chan error, 1)
	go func() {
		defer release()
		done <- r.start(c, id)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("start container %s: %w", id, context.Cause(ctx))
	}
}

func (r *Runtime) start(c *container, id string) error {
	run, err := r.driver.start(r.ctx, id)
	switch {
	case err == nil:
		p := r.processOf(run)
		r.mu.Lock()
		c.started(run)
		c.proc = p
		r.publish(EventStarted, c)
		r.mu.Unlock()
		r.follow(c)
		return nil
	case r.ctx.Err() != nil:
		return fmt.Errorf("start container %s: %w", id, ErrClosed)
	case errors.Is(err, launcher.ErrLost), errors.Is(err, launcher.ErrNoKeeper):
		return fmt.Errorf("start container %s: %w", id, err)
	}
	r.finish(c, exitRecord{ExitCode: 128, FinishedAt: time.Now(), Reason: ReasonStartError, Message: err.Error()})
	return &StartError{ID: id, Err: err}
}

// RemoveContainer kills a container if it runs, and removes all that was made for it but its
// log. Of none it is a no-op.
func (r *Runtime) RemoveContainer(ctx context.Context, id string) error {
	c, release, err := r.acquire(ctx, id)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove container %s: %w", id, err)
	}
	defer release()
	if err := r.StopContainer(ctx, id, 0); err != nil {
		return fmt.Errorf("remove container %s: %w", id, err)
	}
	if err := r.unmakeContainer(c, id); err != nil {
		return fmt.Errorf("remove container %s: %w", id, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.containers, id)
	r.publish(EventRemoved, c)
	return nil
}

func (r *Runtime) unmakeContainer(c *container, id string) error {
	if err := engine.Clean(r.dir, id, c.cgroup); err != nil {
		return err
	}
	crash.At("remove.cleaned")
	// It may have been started without our having learnt of it.
	if run, err := r.dir.Run(id); err == nil {
		if err := r.dir.Spool().Remove(run.PID, run.StartTime); err != nil {
			return err
		}
	}
	// A crash amid deleting must not leave half a container.
	gone := r.dir.Container("." + id)
	if err := os.Rename(r.dir.Container(id), gone); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	crash.At("remove.renamed")
	return os.RemoveAll(gone)
}

// Container returns what is known of a container. The error is ErrNotFound.
func (r *Runtime) Container(id string) (ContainerStatus, error) {
	c, err := r.find(id)
	if err != nil {
		return ContainerStatus{}, err
	}
	return r.statusOf(c), nil
}

// Containers returns all containers by ID.
func (r *Runtime) Containers() []ContainerStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []ContainerStatus
	for _, c := range r.containers {
		if c.made {
			all = append(all, c.status)
		}
	}
	slices.SortFunc(all, func(a, b ContainerStatus) int { return cmp.Compare(a.Spec.ID, b.Spec.ID) })
	return all
}

// ContainerStats reads what a container has used. It can be read until the container is
// removed. Errors are ErrNotFound, and os.ErrNotExist if it was never started.
func (r *Runtime) ContainerStats(id string) (Stats, error) {
	c, err := r.find(id)
	if err != nil {
		return Stats{}, err
	}
	return readStats(c.cgroup)
}

// ReopenLog has the container's log file opened anew, after its path was renamed by who
// rotates logs otherwise. Errors are ErrNotFound and, if it doesn't run, ErrState.
func (r *Runtime) ReopenLog(ctx context.Context, id string) error {
	if _, err := r.find(id); err != nil {
		return err
	}
	err := r.driver.reopen(ctx, id)
	if errors.Is(err, engine.ErrNotRunning) {
		err = fmt.Errorf("%w: %w", ErrState, err)
	}
	if err != nil {
		return fmt.Errorf("reopen log of container %s: %w", id, err)
	}
	return nil
}
