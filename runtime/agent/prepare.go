package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"

	"github.com/bedplate/bedplate/runtime"
	"github.com/bedplate/bedplate/runtime/internal/crash"
)

// setup is what all containers of a pod share, and how far it is.
type setup struct {
	done, busy bool
	failures   int
	retry      time.Time
	trouble    string // why it is not done
	addrs      []netip.Addr
	mounts     map[string][]specs.Mount // by container
}

// prepared says whether the containers of a pod may start. If not it sees to it, beside the loop.
func (w *worker) prepared(pod *corev1.Pod, now time.Time) bool {
	s := &w.setup
	switch {
	case s.done:
		return true
	case s.busy:
		return false
	case s.retry.After(now):
		w.wakeAt(s.retry)
		return false
	}
	s.busy = true
	ctx := w.starting
	w.beside(func() func() {
		made, err := w.a.prepare(ctx, pod)
		return func() {
			s.busy = false
			if err == nil {
				*s = made
			} else if ctx.Err() == nil {
				w.unprepared(pod, err)
			}
		}
	})
	return false
}

func (w *worker) unprepared(pod *corev1.Pod, err error) {
	s := &w.setup
	s.failures++
	s.trouble, s.retry = err.Error(), time.Now().Add(backoffOf(s.failures))
	reason := "FailedCreatePodSandBox"
	if errors.As(err, new(*volumeError)) {
		reason = "FailedMount"
	}
	w.a.c.Log.Warn("pod is not ready to start containers", "pod", podKey(pod), "err", err)
	w.a.c.Events(pod, corev1.EventTypeWarning, reason, err.Error())
}

// volumeError is a failure to make a pod's volumes.
type volumeError struct{ err error }

func (e *volumeError) Error() string { return e.err.Error() }
func (e *volumeError) Unwrap() error { return e.err }

// enter waits for one of the few places of those that start something.
func (a *Agent) enter(ctx context.Context) (leave func(), err error) {
	select {
	case a.starts <- struct{}{}:
		return func() { <-a.starts }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// prepare makes what all containers of a pod share: its folder, its sandbox on the network, its volumes. What is
// there already stays as it is.
func (a *Agent) prepare(ctx context.Context, pod *corev1.Pod) (setup, error) {
	s := setup{done: true}
	if err := a.refuse(pod); err != nil {
		return s, err
	}
	leave, err := a.enter(ctx)
	if err != nil {
		return s, err
	}
	defer leave()
	if err := a.makeDir(pod.UID); err != nil {
		return s, fmt.Errorf("make the pod's folder: %w", err)
	}
	crash.At("agent.dir")
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		s.addrs, err = a.makeSandbox(gctx, pod)
		return err
	})
	if a.c.Volumes != nil {
		g.Go(func() (err error) {
			if s.mounts, err = a.c.Volumes.Mount(gctx, pod); err != nil {
				return &volumeError{err}
			}
			crash.At("agent.volumes")
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return s, err
	}
	err = a.writeFiles(pod, s.addrs)
	crash.At("agent.prepared")
	return s, err
}

// refuse says what this node can't do for a pod.
func (a *Agent) refuse(pod *corev1.Pod) error {
	switch {
	case a.c.Volumes == nil && len(pod.Spec.Volumes) > 0:
		return &volumeError{errors.New("this node has no volumes: give its Config some, or leave them out of the pod")}
	case pod.Spec.HostUsers != nil && !*pod.Spec.HostUsers:
		return errors.New("this node has no user namespaces: leave hostUsers out of the pod")
	}
	return nil
}

// makeSandbox makes a pod's sandbox, if it has none, and attaches it to the network.
func (a *Agent) makeSandbox(ctx context.Context, pod *corev1.Pod) ([]netip.Addr, error) {
	s, err := a.c.Runtime.Sandbox(sandboxID(string(pod.UID)))
	if err == nil && !s.Ready {
		// The machine was restarted: nothing of the pod runs any more.
		if err := a.removeSandbox(ctx, pod); err != nil {
			return nil, err
		}
		err = runtime.ErrNotFound
	}
	if errors.Is(err, runtime.ErrNotFound) {
		s, err = a.c.Runtime.CreateSandbox(ctx, a.sandboxSpec(pod))
	}
	crash.At("agent.sandbox")
	if err != nil || pod.Spec.HostNetwork || a.c.Network == nil {
		return nil, err
	}
	addrs, err := a.c.Network.Attach(ctx, pod, s.Spec.ID, s.NetnsPath)
	if err != nil {
		return nil, fmt.Errorf("attach to the network: %w", err)
	}
	crash.At("agent.attached")
	return addrs, nil
}

func (a *Agent) sandboxSpec(p *corev1.Pod) runtime.SandboxSpec {
	s := runtime.SandboxSpec{
		ID: sandboxID(string(p.UID)), HostNetwork: p.Spec.HostNetwork, HostIPC: p.Spec.HostIPC, HostPID: p.Spec.HostPID,
		SharedPID: p.Spec.ShareProcessNamespace != nil && *p.Spec.ShareProcessNamespace,
		Resources: podResources(&p.Spec), Labels: podLabels(p), CgroupPath: "pod" + string(p.UID),
	}
	if p.Spec.HostNetwork {
		s.HostNetworkPath = a.c.HostNetwork
	} else {
		s.Hostname = hostname(p)
	}
	if p.Spec.SecurityContext != nil && len(p.Spec.SecurityContext.Sysctls) > 0 {
		s.Sysctls = map[string]string{}
		for _, c := range p.Spec.SecurityContext.Sysctls {
			s.Sysctls[c.Name] = c.Value
		}
	}
	return s
}

// removeSandbox removes what is left of a pod's containers, and its sandbox, off the network first.
func (a *Agent) removeSandbox(ctx context.Context, pod *corev1.Pod) error {
	for _, c := range a.c.Runtime.Containers() {
		if c.Spec.Labels[labelPodUID] == string(pod.UID) {
			if err := a.removeRun(ctx, c.Spec.ID); err != nil {
				return err
			}
			crash.At("agent.run-removed")
		}
	}
	id := sandboxID(string(pod.UID))
	if a.c.Network != nil {
		if err := a.c.Network.Detach(ctx, id); err != nil {
			return fmt.Errorf("detach pod %s from the network: %w", podKey(pod), err)
		}
		crash.At("agent.detached")
	}
	return a.c.Runtime.RemoveSandbox(ctx, id)
}

// removeRun removes a run of a container with its root file system; its log stays with the pod's folder.
func (a *Agent) removeRun(ctx context.Context, id string) error {
	if err := a.c.Runtime.RemoveContainer(ctx, id); err != nil {
		return err
	}
	crash.At("agent.container-removed")
	return a.c.Images.Unmount(id)
}

// dropRun removes a run with all that it left: nobody will ask for it again.
func (a *Agent) dropRun(ctx context.Context, run *runtime.ContainerStatus) error {
	if err := a.removeRun(ctx, run.Spec.ID); err != nil {
		return err
	}
	dir := a.podDir(podUID(run.Spec.Labels))
	attempt := number(run, labelAttempt)
	name := run.Spec.Labels[labelContainer]
	if err := os.Remove(messagePath(dir, name, attempt)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return removeLogs(logPath(dir, name, attempt))
}

// refreshVolumes brings configMaps, secrets and tokens up to date, now and then, beside the loop.
func (w *worker) refreshVolumes(pod *corev1.Pod, now time.Time) {
	switch {
	case !w.setup.done || len(pod.Spec.Volumes) == 0 || w.plan.over:
		return
	case w.refresh.IsZero():
		w.refresh = now.Add(w.a.c.Refresh)
	case !w.refresh.After(now):
		w.refresh = now.Add(w.a.c.Refresh)
		w.wg.Go(func() {
			if err := w.a.c.Volumes.Refresh(w.starting, pod); err != nil && w.starting.Err() == nil {
				w.a.c.Log.Warn("volumes are not up to date", "pod", podKey(pod), "err", err)
			}
		})
	}
	w.wakeAt(w.refresh)
}
