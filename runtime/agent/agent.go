package agent

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/reconcile/informer"
	"github.com/bedplate/bedplate/runtime"
)

// Agent runs the pods of one node. Its methods may be called concurrently.
type Agent struct {
	c       Config
	pods    client.Resource[*corev1.Pod]
	sources sources
	starts  chan struct{} // bounds pods that are being started
	memory  int64

	ran   atomic.Bool
	ready chan struct{}
	port  atomic.Int32

	wg      sync.WaitGroup
	mu      sync.Mutex
	workers map[types.UID]*worker
}

// New makes an agent; it starts nothing.
func New(c Config) (*Agent, error) {
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("configure node agent: %w", err)
	}
	c = c.withDefaults()
	return &Agent{
		c: c, pods: client.For[*corev1.Pod](c.Client),
		sources: sources{client.For[*corev1.ConfigMap](c.Client), client.For[*corev1.Secret](c.Client), c.Services},
		starts:  make(chan struct{}, c.Starts), memory: machineMemory(),
		ready: make(chan struct{}), workers: map[types.UID]*worker{},
	}, nil
}

// Ready is closed once the node is registered and its pods are known.
func (a *Agent) Ready() <-chan struct{} { return a.ready }

// Run registers the node and runs its pods until ctx ends. Containers go on then: stop them, if they shall not,
// with StopPods, or leave them to the next agent. A second Run is an error.
func (a *Agent) Run(ctx context.Context) error {
	if a.ran.Swap(true) {
		return errors.New("run node agent: it ran already")
	}
	if err := a.run(ctx); err != nil {
		return fmt.Errorf("run node agent %s: %w", a.c.NodeName, err)
	}
	return nil
}

func (a *Agent) run(caller context.Context) error {
	ctx, cancel := context.WithCancelCause(caller)
	defer a.wg.Wait()
	defer cancel(nil)
	// What ends by itself ends all.
	background := func(name string, run func(context.Context) error) {
		a.wg.Go(func() {
			if err := run(ctx); err != nil && ctx.Err() == nil {
				cancel(fmt.Errorf("%s: %w", name, err))
			}
		})
	}
	err := a.runPods(ctx, background)
	switch {
	case caller.Err() != nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return err
}

func (a *Agent) runPods(ctx context.Context, background func(string, func(context.Context) error)) error {
	if a.c.TLS != nil {
		serve, err := a.api()
		if err != nil {
			return err
		}
		background("node API", serve)
	}
	pods, err := informer.New(a.pods, informer.Config[*corev1.Pod]{Fields: "spec.nodeName=" + a.c.NodeName, Log: a.c.Log})
	if err != nil {
		return err
	}
	background("pods", pods.Run)
	if err := a.register(ctx); err != nil {
		return err
	}
	background("lease", a.heartbeat)
	background("node status", a.reportNode)
	events := a.c.Runtime.Events(ctx)
	background("runtime events", func(ctx context.Context) error { return a.followRuntime(ctx, events) })
	select {
	case <-pods.Synced():
	case <-ctx.Done():
		return ctx.Err()
	}
	s := pods.Subscribe()
	defer s.Close()
	present := map[types.UID]*corev1.Pod{}
	for c, ok := s.Take(); ok; c, ok = s.Take() {
		present[c.Object().UID] = c.Object()
	}
	if err := a.adopt(ctx, present); err != nil {
		return err
	}
	close(a.ready)
	for c := range s.All(ctx) {
		if c.Deleted {
			a.worker(ctx, c.Old, false).gone(c.Old)
		} else {
			a.worker(ctx, c.New, true).update(c.New)
		}
	}
	return ctx.Err()
}

// worker returns the worker of a pod; if there is none it makes one, or, for one that is not to be run, returns nil.
func (a *Agent) worker(ctx context.Context, p *corev1.Pod, make bool) *worker {
	a.mu.Lock()
	defer a.mu.Unlock()
	w := a.workers[p.UID]
	if w != nil || !make {
		return w
	}
	w = newWorker(a, p)
	a.workers[p.UID] = w
	a.wg.Go(func() {
		w.run(ctx)
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.workers, p.UID)
	})
	return w
}

// adopt finds what an agent before this one has left: what belongs to pods of this node goes on with them, and
// what belongs to none is ended in their order.
func (a *Agent) adopt(ctx context.Context, pods map[types.UID]*corev1.Pod) error {
	sandboxes, runs, uids := []string{}, []string{}, []string{}
	orphans := map[types.UID]*corev1.Pod{}
	for _, s := range a.c.Runtime.Sandboxes() {
		sandboxes = append(sandboxes, s.Spec.ID)
		if uid := podUID(s.Spec.Labels); pods[uid] == nil {
			orphans[uid] = orphanOf(s)
			uids = append(uids, string(uid))
		}
	}
	for uid := range pods {
		uids = append(uids, string(uid))
	}
	for _, c := range a.c.Runtime.Containers() {
		runs = append(runs, c.Spec.ID)
	}
	errs := []error{a.c.Images.Keep(runs)}
	if a.c.Network != nil {
		errs = append(errs, a.c.Network.Keep(ctx, sandboxes))
	}
	if a.c.Volumes != nil {
		errs = append(errs, a.c.Volumes.Keep(ctx, uids))
	}
	errs = append(errs, a.sweepDirs(uids))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("clear what an earlier agent left: %w", err)
	}
	for _, p := range orphans {
		a.worker(ctx, p, true).gone(p)
	}
	for _, p := range pods {
		a.worker(ctx, p, true).update(p)
	}
	return nil
}

// orphanOf is as much of a pod as its sandbox tells.
func orphanOf(s runtime.SandboxStatus) *corev1.Pod {
	l := s.Spec.Labels
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: l[labelNamespace], Name: l[labelPodName], UID: podUID(l)}}
}

// followRuntime wakes workers when something happens to their containers.
func (a *Agent) followRuntime(ctx context.Context, events <-chan runtime.Event) error {
	for {
		for e := range events {
			a.wake(podUID(e.Status.Spec.Labels))
		}
		if ctx.Err() != nil {
			return nil
		}
		// We fell behind: look at everything.
		events = a.c.Runtime.Events(ctx)
		a.mu.Lock()
		for _, w := range a.workers {
			w.poke()
		}
		a.mu.Unlock()
		if err := sleep(ctx, time.Second); err != nil {
			return nil
		}
	}
}

// sleep waits; its error is that ctx ended.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (a *Agent) wake(uid types.UID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if w := a.workers[uid]; w != nil {
		w.poke()
	}
}

// podDir is where a pod's logs and small files are.
func (a *Agent) podDir(uid types.UID) string { return filepath.Join(a.c.Dir, "pods", string(uid)) }
