package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/runtime"
	"github.com/bedplate/bedplate/runtime/internal/crash"
)

const (
	// removedGrace is what the containers of a pod get that was taken out of the API by force, and leastGrace what
	// is left to them after a preStop hook that took it all.
	removedGrace = 2 * time.Second
	leastGrace   = 2 * time.Second
)

// graceOf is how long the containers of a pod get to end.
func graceOf(p *corev1.Pod, probe *corev1.Probe) time.Duration {
	seconds := int64(corev1.DefaultTerminationGracePeriodSeconds)
	switch {
	case p.DeletionGracePeriodSeconds != nil:
		seconds = *p.DeletionGracePeriodSeconds
	case probe != nil && probe.TerminationGracePeriodSeconds != nil:
		seconds = *probe.TerminationGracePeriodSeconds
	case p.Spec.TerminationGracePeriodSeconds != nil:
		seconds = *p.Spec.TerminationGracePeriodSeconds
	}
	return time.Duration(max(seconds, 0)) * time.Second
}

// ending is a stop that is under way.
type ending struct {
	until  time.Time // when SIGKILL is due
	cancel context.CancelFunc
}

// stop stops a container beside the loop: its preStop hook, its stop signal, and SIGKILL when grace is over. A stop
// that is under way is begun again if there is less time now than it took itself.
func (w *worker) stop(pod *corev1.Pod, m *member, grace time.Duration, now time.Time) {
	switch {
	case m.ending != nil && now.Add(grace).Before(m.ending.until):
		m.ending.cancel()
		return
	case m.busy || !m.running():
		return
	case m.retry.After(now):
		w.wakeAt(m.retry)
		return
	}
	id := m.now.Spec.ID
	s := stop{w, pod, m.spec, id, grace, m.hooked != id}
	if m.hooked = id; m.changed() {
		m.renewed = id
	}
	w.a.c.Events(pod, corev1.EventTypeNormal, "Killing", killing(m))
	ctx, cancel := context.WithCancel(w.ctx)
	m.busy, m.ending = true, &ending{now.Add(grace), cancel}
	w.beside(func() func() {
		defer cancel()
		err := s.do(ctx)
		crash.At("agent.stopped")
		return func() {
			m.busy, m.ending = false, nil
			if err != nil && ctx.Err() == nil {
				m.fails()
				w.a.c.Log.Warn("container does not stop", "pod", podKey(pod), "container", m.spec.Name, "err", err)
			}
		}
	})
}

func killing(m *member) string {
	switch {
	case m.failed != nil:
		return "Container " + m.spec.Name + " will be restarted: " + m.why
	case m.changed():
		return "Container " + m.spec.Name + " definition changed, will be restarted"
	}
	return "Stopping container " + m.spec.Name
}

// stop is a container that is to end.
type stop struct {
	w         *worker
	pod       *corev1.Pod
	container *corev1.Container
	id        string
	grace     time.Duration
	hook      bool // its preStop hook has not been run
}

func (s *stop) do(ctx context.Context) error {
	begin := time.Now()
	if l := s.container.Lifecycle; l != nil && l.PreStop != nil && s.hook && s.grace > 0 {
		hook, cancel := context.WithTimeout(ctx, s.grace)
		err := s.w.hook(hook, s.pod, s.container, s.id, l.PreStop)
		cancel()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			s.w.a.c.Events(s.pod, corev1.EventTypeWarning, "FailedPreStopHook", "PreStopHook failed: "+err.Error())
		}
		s.grace = max(s.grace-time.Since(begin), leastGrace)
	}
	return s.w.a.c.Runtime.StopContainer(ctx, s.id, s.grace)
}

// stopAll stops what runs: first the containers, then the sidecars, the last first. It says whether nothing does,
// and nothing is being prepared or started.
func (w *worker) stopAll(pod *corev1.Pod, grace time.Duration, now time.Time) (stopped bool) {
	w.cancel() // nothing new starts
	stopped = !w.setup.busy
	regular := true
	for _, m := range w.members {
		if !m.busy && !m.running() {
			continue
		}
		stopped = false
		if !m.sidecar {
			regular = false
			w.stop(pod, m, grace, now)
		}
	}
	if !regular {
		return false
	}
	for _, m := range slices.Backward(w.members) {
		if m.sidecar && (m.running() || m.busy) {
			w.stop(pod, m, grace, now)
			break
		}
	}
	return stopped
}

// end stops a pod that is being deleted, tells how it ended, removes all that was made for it and then lets it go
// from the API.
func (w *worker) end(pod *corev1.Pod, removed bool, now time.Time) (over bool) {
	grace := graceOf(pod, nil)
	if removed {
		grace = min(grace, removedGrace)
	}
	stopped := w.stopAll(pod, grace, now)
	if !removed && !hasEnded(pod) {
		w.tell(pod, stopped)
	}
	switch {
	case !stopped:
		return false
	case w.retry.After(now):
		w.wakeAt(w.retry)
		return false
	}
	if err := w.clear(pod, removed); err != nil {
		if w.ctx.Err() == nil {
			w.failed("pod is not removed", pod, err, now)
		}
		return false
	}
	return true
}

// clear removes a pod in the order in which a crash on the way loses nothing: the truth about it is told before the
// evidence goes, and the API keeps it until nothing of it is left.
func (w *worker) clear(pod *corev1.Pod, removed bool) error {
	if !removed {
		if err := w.report.wait(w.ctx); err != nil {
			return err
		}
		crash.At("agent.told")
	}
	if err := w.a.removeSandbox(w.ctx, pod); err != nil {
		return err
	}
	crash.At("agent.sandbox-removed")
	if w.a.c.Volumes != nil {
		if err := w.a.c.Volumes.Unmount(w.ctx, string(pod.UID)); err != nil {
			return fmt.Errorf("unmount its volumes: %w", err)
		}
		crash.At("agent.unmounted")
	}
	if !removed {
		err := w.a.pods.Delete(w.ctx, pod.Namespace, pod.Name, client.Grace(0), client.IfUID(pod.UID))
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return err
		}
		crash.At("agent.released")
	}
	err := w.a.removeDir(pod.UID)
	crash.At("agent.dir-removed")
	return err
}

// failed takes in that cleaning up has failed, and when to try again.
func (w *worker) failed(what string, pod *corev1.Pod, err error, now time.Time) {
	w.failures++
	w.retry = now.Add(backoffOf(w.failures))
	w.wakeAt(w.retry)
	w.a.c.Log.Warn(what, "pod", podKey(pod), "err", err)
}

// rest frees what a pod that is over no longer needs: all but the runs, whose logs may be read until it is
// deleted.
func (w *worker) rest(pod *corev1.Pod, now time.Time) {
	stopped := w.stopAll(pod, graceOf(pod, nil), now)
	w.tell(pod, stopped)
	switch {
	case !stopped || w.rested:
		return
	case w.retry.After(now):
		w.wakeAt(w.retry)
		return
	}
	var errs []error
	if w.a.c.Network != nil {
		errs = append(errs, w.a.c.Network.Detach(w.ctx, sandboxID(string(pod.UID))))
	}
	if w.a.c.Volumes != nil {
		errs = append(errs, w.a.c.Volumes.Unmount(w.ctx, string(pod.UID)))
	}
	if err := errors.Join(errs...); err != nil {
		w.failed("pod is over and not freed", pod, err, now)
		return
	}
	w.rested = true
}

// StopPods ends all that the agent has made on the node, without touching the API: the next agent starts the pods
// again. Call it when Run has ended.
func (a *Agent) StopPods(ctx context.Context) error {
	var g errgroup.Group
	for _, c := range a.c.Runtime.Containers() {
		g.Go(func() error {
			seconds, err := strconv.Atoi(c.Spec.Labels[labelGrace])
			if err != nil {
				seconds = corev1.DefaultTerminationGracePeriodSeconds
			}
			err = a.c.Runtime.StopContainer(ctx, c.Spec.ID, time.Duration(seconds)*time.Second)
			if errors.Is(err, runtime.ErrNotFound) {
				err = nil
			}
			return cmp.Or(err, a.removeRun(ctx, c.Spec.ID))
		})
	}
	errs := []error{g.Wait()}
	for _, s := range a.c.Runtime.Sandboxes() {
		if a.c.Network != nil {
			errs = append(errs, a.c.Network.Detach(ctx, s.Spec.ID))
		}
		errs = append(errs, a.c.Runtime.RemoveSandbox(ctx, s.Spec.ID))
	}
	if a.c.Volumes != nil {
		errs = append(errs, a.c.Volumes.Keep(ctx, nil))
	}
	errs = append(errs, a.sweepDirs(nil))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("stop the pods of node %s: %w", a.c.NodeName, err)
	}
	return nil
}
