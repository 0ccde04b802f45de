package agent

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/bedplate/bedplate/runtime"
)

// A worker sees to one pod. Its loop is the only one that decides and the only one that touches the fields below
// loop; what takes long (preparing, starting, stopping, probing) runs beside it and comes back as a poke.
type worker struct {
	a     *Agent
	pokes chan struct{}
	wg    sync.WaitGroup

	mu      sync.Mutex
	pod     *corev1.Pod // the newest from the API
	removed bool        // it is no longer in the API
	settled []func()    // what the loop has still to learn of what ran beside it

	// loop
	ctx      context.Context // of everything
	starting context.Context // of what is wanted only as long as the pod shall run
	cancel   context.CancelFunc
	members  []*member
	setup    setup
	probes   map[string]*prober // by run ID
	messages map[string]string  // termination messages by run ID
	plan     decision
	wake     time.Time // when to look again although nothing happened; zero: never
	reason   string    // why the agent ends the pod; empty: it doesn't
	message  string
	status   *corev1.PodStatus // as it was told last
	report   *reporter
	refresh  time.Time // of volumes
	failures int       // to clean up, in a row
	retry    time.Time // of cleaning up
	rested   bool      // the pod is over, and what it does not need any more is freed
}

func newWorker(a *Agent, p *corev1.Pod) *worker {
	return &worker{a: a, pod: p, pokes: make(chan struct{}, 1), probes: map[string]*prober{}, messages: map[string]string{}}
}

// poke wakes the loop; pokes that it has not answered yet become one.
func (w *worker) poke() {
	select {
	case w.pokes <- struct{}{}:
	default:
	}
}

func (w *worker) update(p *corev1.Pod) {
	w.mu.Lock()
	w.pod = p
	w.mu.Unlock()
	w.poke()
}

// gone tells that the pod is no longer in the API. A nil worker never had one.
func (w *worker) gone(p *corev1.Pod) {
	if w == nil {
		return
	}
	w.mu.Lock()
	w.pod, w.removed = p, true
	w.mu.Unlock()
	w.poke()
}

// newest is the pod as the API has it.
func (w *worker) newest() *corev1.Pod {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pod
}

// beside runs what takes long beside the loop. What it returns is run by the loop.
func (w *worker) beside(do func() (settle func())) {
	w.wg.Go(func() {
		settle := do()
		w.mu.Lock()
		w.settled = append(w.settled, settle)
		w.mu.Unlock()
		w.poke()
	})
}

// run is the loop. It returns when the pod is gone from the API and from this node, or when ctx ends.
func (w *worker) run(ctx context.Context) {
	w.ctx = ctx
	w.starting, w.cancel = context.WithCancel(ctx)
	w.report = newReporter(w.a)
	reporting, done := context.WithCancel(ctx)
	w.wg.Go(func() { w.report.run(reporting) })
	defer w.wg.Wait()
	defer done()
	defer w.cancel()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.pokes:
		case <-timer.C:
		}
		if w.step(time.Now()) {
			return
		}
		timer.Stop()
		if !w.wake.IsZero() {
			timer.Reset(time.Until(w.wake))
		}
	}
}

// wakeAt has the loop look again at a time; zero is never.
func (w *worker) wakeAt(t time.Time) { w.wake = earlier(w.wake, t) }

// earlier is the earlier of two times of which zero is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// step looks, decides and acts once. It says whether the pod is gone.
func (w *worker) step(now time.Time) (over bool) {
	w.mu.Lock()
	pod, removed, settled := w.pod, w.removed, w.settled
	w.settled = nil
	w.mu.Unlock()
	w.wake = time.Time{}
	for _, settle := range settled {
		settle()
	}
	w.observe(pod)
	w.plan = plan(pod.Spec.RestartPolicy, w.members, now)
	switch {
	case removed || pod.DeletionTimestamp != nil:
		return w.end(pod, removed, now)
	case hasEnded(pod):
		w.rest(pod, now)
	default:
		w.live(pod, now)
	}
	return false
}

func hasEnded(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

// observe brings what is known of the containers up to date with the API and the runtime.
func (w *worker) observe(pod *corev1.Pod) {
	if w.members == nil {
		w.members = membersOf(pod)
	}
	runs := map[string][]runtime.ContainerStatus{}
	for _, c := range w.a.c.Runtime.Containers() {
		if c.Spec.Labels[labelPodUID] == string(pod.UID) {
			name := c.Spec.Labels[labelContainer]
			runs[name] = append(runs[name], c)
		}
	}
	for _, m := range w.members {
		if c := containerNamed(&pod.Spec, m.spec.Name); c != nil {
			m.spec = c // its image may have changed
		}
		m.look(runs[m.spec.Name])
		w.judge(pod, m)
	}
	w.forget()
	w.learn(pod)
}

// live does what a pod that shall run needs next.
func (w *worker) live(pod *corev1.Pod, now time.Time) {
	if until := deadline(pod); !until.IsZero() && w.reason == "" {
		if until.After(now) {
			w.wakeAt(until)
		} else {
			w.reason, w.message = "DeadlineExceeded", "Pod was active on the node longer than the specified deadline"
		}
	}
	if w.reason != "" {
		w.tell(pod, w.stopAll(pod, graceOf(pod, nil), now))
		return
	}
	for _, m := range w.plan.stop {
		w.stop(pod, m, graceOf(pod, m.failed), now)
	}
	if !w.plan.over && w.prepared(pod, now) {
		for _, m := range w.plan.start {
			w.start(pod, m, now)
		}
	}
	w.pauses(pod)
	w.tell(pod, w.plan.over)
	w.wakeAt(w.plan.wake)
	w.refreshVolumes(pod, now)
}

// pauses says of each container that waits for its next try that it does.
func (w *worker) pauses(pod *corev1.Pod) {
	for _, m := range w.plan.waits {
		if !m.exited() || m.waiting != nil {
			continue
		}
		m.waiting = &corev1.ContainerStateWaiting{
			Reason:  "CrashLoopBackOff",
			Message: "back-off " + backoff(m).String() + " restarting failed container=" + m.spec.Name + " pod=" + longName(pod),
		}
		w.a.c.Events(pod, corev1.EventTypeWarning, "BackOff", "Back-off restarting failed container "+m.spec.Name+" in pod "+longName(pod))
	}
}

// longName is how kubelets name a pod in messages: "name_namespace(uid)".
func longName(p *corev1.Pod) string { return p.Name + "_" + p.Namespace + "(" + string(p.UID) + ")" }

// deadline is when a pod with activeDeadlineSeconds has to end; zero if it has none, or has not started. The API
// keeps whole seconds: the one that may have been cut off is added.
func deadline(p *corev1.Pod) time.Time {
	if p.Spec.ActiveDeadlineSeconds == nil || p.Status.StartTime == nil {
		return time.Time{}
	}
	return p.Status.StartTime.Add(time.Duration(*p.Spec.ActiveDeadlineSeconds+1) * time.Second)
}

// tell hands the pod's status to whoever reports it. over: nothing of it runs, or will again.
func (w *worker) tell(pod *corev1.Pod, over bool) {
	s := statusOf(pod, &view{
		members: w.members, sandbox: w.setup.done, trouble: w.setup.trouble, initialized: w.plan.initialized, over: over, addrs: w.addrs(pod),
		hosts: w.a.c.Addresses, reason: w.reason, message: w.message, messages: w.messages, last: w.status, now: time.Now(),
	})
	w.status = &s
	w.report.set(pod, s)
}
