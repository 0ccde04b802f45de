package agent

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/bedplate/bedplate/runtime"
)

// member is one container of a pod and what is known of its runs.
type member struct {
	spec *corev1.Container
	// init containers run one after the other before the others; those that are sidecars go on beside them.
	init, sidecar bool
	// prior is what the API knew of the container when the worker began: all that is known of runs that have left
	// no other trace. nil: nothing.
	prior *corev1.ContainerStatus

	// now is the newest run that was started, before the one before it, unstarted a run that was created only.
	now, before, unstarted *runtime.ContainerStatus
	// ran: it has been started at least once; attempt then counts the restarts so far.
	ran     bool
	attempt int
	// calm is the attempt at which the container last ran for long: back-off counts from there.
	calm int
	// verdict is that of the probes on the newest run.
	verdict
	// waiting says why the container does not run, where there is more to say.
	waiting *corev1.ContainerStateWaiting
	// busy: it is being started or stopped, and left alone until that is over. ending is the stop, if it is one.
	busy   bool
	ending *ending
	// hooked is the run whose preStop hook was begun, and renewed the run that ends because its image has changed.
	hooked, renewed string
	// trouble counts what failed in a row before the container could run (pulling its image, say) or end, and
	// retry is when to try again.
	trouble int
	retry   time.Time
}

// membersOf lists the containers of a pod, the init containers first.
func membersOf(p *corev1.Pod) []*member {
	members := []*member{}
	add := func(c *corev1.Container, init bool) {
		m := &member{spec: c, init: init, sidecar: init && sidecar(c)}
		if s := statusNamed(p, c.Name); s != nil && s.ContainerID != "" {
			m.prior, m.ran, m.attempt, m.calm = s, true, int(s.RestartCount), int(s.RestartCount)
		}
		members = append(members, m)
	}
	for i := range p.Spec.InitContainers {
		add(&p.Spec.InitContainers[i], true)
	}
	for i := range p.Spec.Containers {
		add(&p.Spec.Containers[i], false)
	}
	return members
}

// look takes in the runs that the runtime has.
func (m *member) look(runs []runtime.ContainerStatus) {
	slices.SortFunc(runs, func(a, b runtime.ContainerStatus) int { return number(&b, labelAttempt) - number(&a, labelAttempt) })
	m.now, m.before, m.unstarted = nil, nil, nil
	for i := range runs {
		switch r := &runs[i]; {
		case r.State == runtime.StateCreated:
			m.unstarted = r
		case m.now == nil:
			m.now = r
		case m.before == nil:
			m.before = r
		}
	}
	if m.now == nil {
		return
	}
	m.ran, m.attempt, m.calm = true, number(m.now, labelAttempt), number(m.now, labelCalm)
	if m.exited() && m.now.FinishedAt.Sub(m.now.StartedAt) >= calmRun {
		m.calm = m.attempt
	}
}

// next is the number of the next run.
func (m *member) next() int {
	if !m.ran {
		return 0
	}
	return m.attempt + 1
}

func (m *member) running() bool { return m.now != nil && m.now.State == runtime.StateRunning }
func (m *member) exited() bool  { return m.now != nil && m.now.State == runtime.StateExited }

// changed says whether a container runs another image than its spec has by now. An init container that has begun
// is not begun again for that.
func (m *member) changed() bool {
	return m.running() && (!m.init || m.sidecar) && m.now.Spec.Labels[labelImage] != m.spec.Image
}

// renewing says whether a container has ended so that it begins again with another image.
func (m *member) renewing() bool { return m.renewed != "" && m.exited() && m.renewed == m.now.Spec.ID }

// doomed says whether a container that runs has to end: by a probe, by its postStart hook, or for a new image.
func (m *member) doomed() bool { return m.running() && (m.failed != nil || m.changed()) }

// fails takes in that starting or stopping has failed, and when to try again.
func (m *member) fails() {
	m.trouble++
	m.retry = time.Now().Add(backoffOf(m.trouble))
}

// backoffOf is the pause after n failures in a row of something that is not a container's run: 1 s, doubled, up
// to 1 min.
func backoffOf(n int) time.Duration {
	return min(time.Second<<min(n-1, 6), time.Minute)
}

func containerNamed(s *corev1.PodSpec, name string) *corev1.Container {
	for _, list := range [][]corev1.Container{s.Containers, s.InitContainers} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	return nil
}

func statusNamed(p *corev1.Pod, name string) *corev1.ContainerStatus {
	for _, list := range [][]corev1.ContainerStatus{p.Status.ContainerStatuses, p.Status.InitContainerStatuses} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	return nil
}
