package pods

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/reconcile/events"
	"github.com/bedplate/bedplate/reconcile/informer"
	"github.com/bedplate/bedplate/scheduling"
	corev1 "k8s.io/api/core/v1"
)

// DriverConfig is what a [Scheduler] is made of.
type DriverConfig struct {
	// Client writes bindings, conditions and events. Its registry must know core/v1
	// Pod, Node and Event. Required.
	Client *client.Client
	// Pods and Nodes are all pods and nodes, kept current by whoever runs them. nil:
	// the scheduler has informers of its own, which list and watch over Client.
	Pods  *informer.Informer[*corev1.Pod]
	Nodes *informer.Informer[*corev1.Node]
	// Name is the scheduler's: it schedules the pods whose spec.schedulerName this
	// is. "": "default-scheduler".
	Name string
	// Plugins decide; nil: those of [Default]. They belong to this scheduler alone.
	Plugins []Plugin
	// Bindings is how many bindings may be under way at once; 0: 16.
	Bindings int
	// Reports is how many pods may wait to have their condition written; that of
	// further ones is written when they are next found to be unschedulable. 0: 10,000.
	Reports int
	// Log takes one line for each fault; nil: off.
	Log *slog.Logger
}

func (c *DriverConfig) validate() error {
	switch {
	case c.Client == nil:
		return errors.New("scheduling pods: DriverConfig.Client is nil")
	case c.Reports < 0:
		return errors.New("scheduling pods: DriverConfig.Reports is negative")
	}
	return nil
}

func (c *DriverConfig) setDefaults() {
	if c.Name == "" {
		c.Name = corev1.DefaultSchedulerName
	}
	if c.Reports == 0 {
		c.Reports = 10_000
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
}

// Scheduler schedules the pods of an API: it watches pods and nodes, binds, and
// tells of what it can't place. Any number may work on one API, of one name or
// several: a server of this project refuses a binding that was decided on without
// knowing of another to the same node, so that none is overcommitted. Another
// Kubernetes doesn't; there, run one at a time.
type Scheduler struct {
	c         DriverConfig
	scheduler *scheduling.Scheduler[*corev1.Pod, corev1.Node]
	own       []func(context.Context) error // informers that nobody else runs
	binder    *binder
	reporter  *reporter
	events    *events.Recorder
	told      atomic.Int64 // revision up to which pods were told to the scheduler
	ran       atomic.Bool
}

// New returns a scheduler of pods that does nothing until Run.
func New(c DriverConfig) (*Scheduler, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	c.setDefaults()
	s := &Scheduler{c: c}
	if err := s.informers(); err != nil {
		return nil, err
	}
	recorder, err := events.New(events.Config{Client: c.Client, Component: c.Name, Log: c.Log})
	if err != nil {
		return nil, err
	}
	s.events = recorder
	s.reporter = newReporter(client.For[*corev1.Pod](c.Client), c.Reports, c.Log)
	s.scheduler, err = scheduling.New(scheduling.SchedulerConfig[*corev1.Pod, corev1.Node]{
		CycleConfig: Config(c.Plugins...), Bindings: c.Bindings, Log: c.Log,
		Bind: s.bind, Bound: s.bound, Failed: s.failed,
	})
	if err != nil {
		return nil, err
	}
	s.binder = newBinder(c.Client.Doer(), s.scheduler.Fits, s.told.Load, s.c.Pods.WaitFor)
	return s, nil
}

// informers makes those that weren't handed in.
func (s *Scheduler) informers() (err error) {
	if s.c.Pods == nil {
		if s.c.Pods, err = informer.New(client.For[*corev1.Pod](s.c.Client), informer.Config[*corev1.Pod]{Log: s.c.Log}); err != nil {
			return err
		}
		s.own = append(s.own, s.c.Pods.Run)
	}
	if s.c.Nodes == nil {
		if s.c.Nodes, err = informer.New(client.For[*corev1.Node](s.c.Client), informer.Config[*corev1.Node]{Log: s.c.Log}); err != nil {
			return err
		}
		s.own = append(s.own, s.c.Nodes.Run)
	}
	return nil
}

// Run schedules until ctx ends, and returns when everything that it started has
// ended. It begins when pods and nodes are known. A second Run is an error.
//
// Every write carries the fence of ctx, where there is one (client.WithScope).
func (s *Scheduler) Run(ctx context.Context) error {
	if s.ran.Swap(true) {
		return errors.New("scheduling pods: Run was called before")
	}
	parts := append([]func(context.Context) error{s.schedule, s.reporter.run, s.events.Run}, s.own...)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, len(parts))
	for _, run := range parts {
		go func() { ended <- run(ctx) }()
	}
	var errs []error
	for range parts {
		errs = append(errs, <-ended)
		cancel() // one that ends, ends all
	}
	return errors.Join(errs...)
}

// schedule follows nodes and pods and schedules once both are known.
func (s *Scheduler) schedule(ctx context.Context) error {
	stopNodes := s.c.Nodes.Handle(informer.Handler[*corev1.Node]{Change: s.nodeChanged})
	defer stopNodes()
	stopPods := s.c.Pods.Handle(informer.Handler[*corev1.Pod]{Change: s.podChanged, Progress: s.told.Store})
	defer stopPods()
	for _, synced := range []<-chan struct{}{s.c.Nodes.Synced(), s.c.Pods.Synced()} {
		select {
		case <-synced:
		case <-ctx.Done():
			return nil
		}
	}
	return s.scheduler.Run(ctx)
}

func (s *Scheduler) nodeChanged(c informer.Change[*corev1.Node]) {
	if c.Deleted {
		s.scheduler.RemoveHost(c.Old.Name)
		s.binder.forget(c.Old.Name)
		return
	}
	s.scheduler.SetHost(c.New.Name, c.New)
}

// podChanged tells the scheduler of a pod that takes room on a node, or that is
// this scheduler's to place. One that has ended takes none, and one that is being
// deleted needn't be placed.
func (s *Scheduler) podChanged(c informer.Change[*corev1.Pod]) {
	pod := c.Object()
	ended := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
	unwanted := pod.Spec.NodeName == "" && (pod.DeletionTimestamp != nil || schedulerName(pod) != s.c.Name)
	if c.Deleted || ended || unwanted {
		s.scheduler.RemoveItem(Key(pod))
		s.reporter.forget(pod)
		return
	}
	if err := s.scheduler.SetItem(pod); err != nil {
		s.c.Log.Error("pod is left out until it changes", "pod", pod.Namespace+"/"+pod.Name, "err", err)
	}
}

func schedulerName(pod *corev1.Pod) string {
	if pod.Spec.SchedulerName == "" {
		return corev1.DefaultSchedulerName
	}
	return pod.Spec.SchedulerName
}

func (s *Scheduler) bind(ctx context.Context, pod *corev1.Pod, node string) error {
	return s.binder.bind(ctx, pod, node)
}

func (s *Scheduler) bound(pod *corev1.Pod, node string) {
	s.reporter.forget(pod)
	s.events.Normal(pod, "Scheduled", "Successfully assigned %s/%s to %s", pod.Namespace, pod.Name, node)
}

// failed tells the pod's owner what is the matter, unless it will be tried again
// at once.
func (s *Scheduler) failed(pod *corev1.Pod, err error) {
	if errors.Is(err, scheduling.ErrStale) {
		return
	}
	reason := corev1.PodReasonSchedulerError
	if _, unfit := errors.AsType[*scheduling.Unfit](err); unfit {
		reason = corev1.PodReasonUnschedulable
	}
	message := Message(err)
	s.events.Warning(pod, "FailedScheduling", "%s", message)
	s.reporter.report(pod, reason, message)
}

// Explain says why a pod isn't placed, node by node, as things are now.
func (s *Scheduler) Explain(ctx context.Context, pod *corev1.Pod) ([]scheduling.Refusal, error) {
	refusals, err := s.scheduler.Explain(ctx, pod)
	if err != nil {
		return nil, fmt.Errorf("explain pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return refusals, nil
}

// Len counts the pods that wait.
func (s *Scheduler) Len() scheduling.Counts { return s.scheduler.Len() }
