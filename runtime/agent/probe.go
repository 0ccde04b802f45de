package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// verdict is what the probes, and the postStart hook, say of a run of a container.
type verdict struct {
	started, ready bool
	// failed is the probe by which the run has to end, and why says how it failed; nil: it may go on.
	failed *corev1.Probe
	why    string
}

// A prober probes one run of a container: first its startup, then its readiness and liveness side by side. Its
// verdict is read by the worker's loop.
type prober struct {
	c      *corev1.Container
	begun  time.Time
	ask    check
	turned func() // the verdict has changed
	cancel context.CancelFunc

	mu sync.Mutex
	verdict
}

// check asks once; nil is success.
type check func(ctx context.Context, p *corev1.Probe) error

// set changes the verdict.
func (p *prober) set(change func(*verdict)) {
	p.mu.Lock()
	before := p.verdict
	change(&p.verdict)
	changed := p.verdict != before
	p.mu.Unlock()
	if changed {
		p.turned()
	}
}

func (p *prober) now() verdict {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.verdict
}

// run probes until ctx ends or the run has failed.
func (p *prober) run(ctx context.Context) {
	fails := func(probe *corev1.Probe, kind string, err error) {
		p.set(func(v *verdict) { v.failed, v.why = probe, fmt.Sprintf("%s probe failed: %v", kind, err) })
	}
	if probe := p.c.StartupProbe; probe != nil && !p.now().started {
		up := false
		p.watch(ctx, always(probe), probe, false, func(ok bool, err error) (enough bool) {
			if up = ok; !ok {
				fails(probe, "Startup", err)
			}
			return true
		})
		if !up {
			return
		}
	}
	p.set(func(v *verdict) { v.started, v.ready = true, v.ready || p.c.ReadinessProbe == nil })
	var wg sync.WaitGroup
	defer wg.Wait()
	if probe := p.c.ReadinessProbe; probe != nil {
		wg.Go(func() {
			p.watch(ctx, p.soon(probe), probe, false, func(ok bool, _ error) (enough bool) {
				p.set(func(v *verdict) { v.ready = ok })
				return false
			})
		})
	}
	if probe := p.c.LivenessProbe; probe != nil {
		wg.Go(func() {
			p.watch(ctx, always(probe), probe, true, func(ok bool, err error) (enough bool) {
				if !ok {
					fails(probe, "Liveness", err)
				}
				return !ok
			})
		})
	}
}

// always asks once in a period.
func always(probe *corev1.Probe) (pause func(ok bool) time.Duration) {
	return func(bool) time.Duration { return time.Duration(probe.PeriodSeconds) * time.Second }
}

// firstAsk is the pause before a readiness probe is asked for the second time; it doubles up to the period.
const firstAsk = 10 * time.Millisecond

// soon asks a readiness probe sooner than in its period while its container is not ready yet, as Kubernetes' "Configure
// Liveness, Readiness and Startup Probes" allows: most containers begin to listen some milliseconds after their start,
// and a question that comes just before would cost them a period. What runs a process is asked in its period.
func (p *prober) soon(probe *corev1.Probe) (pause func(ok bool) time.Duration) {
	period, next := time.Duration(probe.PeriodSeconds)*time.Second, firstAsk
	return func(ok bool) time.Duration {
		if ok || probe.Exec != nil || next >= period || p.now().ready {
			return period
		}
		defer func() { next *= 2 }()
		return next
	}
}

// watch asks a probe again and again, after each answer in pause, until ctx ends or decided says that it is enough.
// decided is told of every answer by which a threshold is reached or passed.
func (p *prober) watch(ctx context.Context, pause func(ok bool) time.Duration, probe *corev1.Probe, ok bool, decided func(ok bool, err error) (enough bool)) {
	s := streak{probe: probe, ok: ok}
	timer := time.NewTimer(time.Until(p.begun.Add(time.Duration(probe.InitialDelaySeconds) * time.Second)))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		asked := time.Now()
		err := p.askOnce(ctx, probe)
		if ctx.Err() != nil {
			return
		}
		timer.Reset(time.Until(asked.Add(pause(err == nil))))
		if ok, sure := s.count(err == nil); sure && decided(ok, err) {
			return
		}
	}
}

func (p *prober) askOnce(ctx context.Context, probe *corev1.Probe) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(probe.TimeoutSeconds)*time.Second)
	defer cancel()
	return p.ask(ctx, probe)
}

// streak counts answers of one kind in a row.
type streak struct {
	probe *corev1.Probe
	ok    bool // the verdict so far
	last  bool
	run   int32
}

// count takes an answer in; decided says that a threshold is reached and verdict is the verdict.
func (s *streak) count(ok bool) (verdict, decided bool) {
	if ok != s.last {
		s.run = 0
	}
	s.last = ok
	s.run++
	need := s.probe.FailureThreshold
	if ok {
		need = s.probe.SuccessThreshold
	}
	if s.run < need {
		return s.ok, false
	}
	s.ok = ok
	return ok, true
}

// judge takes over the verdict on the newest run, and has it probed if it isn't yet.
func (w *worker) judge(pod *corev1.Pod, m *member) {
	if !m.running() {
		m.verdict = verdict{}
		return
	}
	p := w.probes[m.now.Spec.ID]
	if p == nil {
		p = w.probe(pod, m)
	}
	before := m.failed
	m.verdict = p.now()
	if m.failed != nil && before == nil && m.failed != hookFailed {
		w.a.c.Events(pod, corev1.EventTypeWarning, "Unhealthy", m.why)
	}
}

// hookFailed stands for the probe where it is the postStart hook that has failed.
var hookFailed = &corev1.Probe{}

// probe begins to watch over a run. Its postStart hook comes first: until that is through, it has not started. An
// agent that finds a container running takes it as started and as ready as it was told last; a hook that was not
// known to be through runs again.
func (w *worker) probe(pod *corev1.Pod, m *member) *prober {
	c, id := m.spec, m.now.Spec.ID
	ctx, cancel := context.WithCancel(w.starting)
	p := &prober{
		c: c, begun: m.now.StartedAt, turned: w.poke, cancel: cancel,
		ask: func(ctx context.Context, probe *corev1.Probe) error { return w.ask(ctx, pod, c, id, probe) },
	}
	w.probes[id] = p
	if s := m.prior; s != nil && s.ContainerID == Scheme+"://"+id {
		p.started, p.ready = s.Started != nil && *s.Started, s.Ready
	}
	hook := c.Lifecycle != nil && c.Lifecycle.PostStart != nil && !p.started
	if !hook && c.StartupProbe == nil {
		p.started, p.ready = true, p.ready || c.ReadinessProbe == nil
	}
	w.wg.Go(func() {
		if hook {
			if err := w.hook(ctx, pod, c, id, c.Lifecycle.PostStart); err != nil {
				if ctx.Err() == nil {
					w.a.c.Events(pod, corev1.EventTypeWarning, "FailedPostStartHook", "PostStartHook failed: "+err.Error())
					p.set(func(v *verdict) { v.failed, v.why = hookFailed, "PostStart hook failed: "+err.Error() })
				}
				return
			}
		}
		p.run(ctx)
	})
	return p
}

// forget ends the probing of runs that have ended.
func (w *worker) forget() {
	running := map[string]bool{}
	for _, m := range w.members {
		if m.running() {
			running[m.now.Spec.ID] = true
		}
	}
	for id, p := range w.probes {
		if !running[id] {
			p.cancel()
			delete(w.probes, id)
		}
	}
}

// ask puts one probe to a container.
func (w *worker) ask(ctx context.Context, pod *corev1.Pod, c *corev1.Container, id string, p *corev1.Probe) error {
	switch {
	case p.Exec != nil:
		return w.exec(ctx, id, p.Exec.Command)
	case p.HTTPGet != nil:
		return w.httpGet(ctx, pod, c, p.HTTPGet)
	case p.TCPSocket != nil:
		return w.tcp(ctx, pod, c, p.TCPSocket)
	case p.GRPC != nil:
		return w.grpc(ctx, pod, p.GRPC)
	}
	return errors.New("the probe asks for nothing that this node knows")
}

// hook runs a lifecycle hook.
func (w *worker) hook(ctx context.Context, pod *corev1.Pod, c *corev1.Container, id string, h *corev1.LifecycleHandler) error {
	switch {
	case h.Exec != nil:
		return w.exec(ctx, id, h.Exec.Command)
	case h.HTTPGet != nil:
		return w.httpGet(ctx, pod, c, h.HTTPGet)
	case h.Sleep != nil:
		return sleep(ctx, time.Duration(h.Sleep.Seconds)*time.Second)
	}
	return errors.New("the hook asks for nothing that this node knows: " + strings.TrimSpace(h.String()))
}
