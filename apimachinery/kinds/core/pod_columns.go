package core

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/bedplate/bedplate/apimachinery"
)

func podColumns() []apimachinery.Column {
	type pod = *corev1.Pod
	return []apimachinery.Column{
		apimachinery.NameColumn(),
		apimachinery.ColumnOf("Ready", "string", func(p pod) any {
			s := summarise(p)
			return fmt.Sprintf("%d/%d", s.ready, s.total)
		}),
		apimachinery.ColumnOf("Status", "string", func(p pod) any { return summarise(p).status }),
		apimachinery.ColumnOf("Restarts", "string", func(p pod) any { return summarise(p).restarts.String() }),
		apimachinery.AgeColumn(),
		wide("IP", "string", func(p pod) any { return podIP(p) }),
		wide("Node", "string", func(p pod) any { return or(p.Spec.NodeName, "<none>") }),
		wide("Nominated Node", "string", func(p pod) any { return or(p.Status.NominatedNodeName, "<none>") }),
		wide("Readiness Gates", "string", func(p pod) any { return readinessGates(p) }),
	}
}

func podIP(p *corev1.Pod) string {
	if len(p.Status.PodIPs) == 0 {
		return "<none>"
	}
	return or(p.Status.PodIPs[0].IP, "<none>")
}

func readinessGates(p *corev1.Pod) string {
	if len(p.Spec.ReadinessGates) == 0 {
		return "<none>"
	}
	met := 0
	for _, g := range p.Spec.ReadinessGates {
		if condition(p, g.ConditionType) == corev1.ConditionTrue {
			met++
		}
	}
	return fmt.Sprintf("%d/%d", met, len(p.Spec.ReadinessGates))
}

func condition(p *corev1.Pod, t corev1.PodConditionType) corev1.ConditionStatus {
	for _, c := range p.Status.Conditions {
		if c.Type == t {
			return c.Status
		}
	}
	return corev1.ConditionUnknown
}

// summary is what a pod's row says of its containers.
type summary struct {
	ready, total int
	restarts     restarts
	status       string
}

// restarts counts them, and remembers the last.
type restarts struct {
	count int
	last  metav1.Time
}

func (r *restarts) add(s *corev1.ContainerStatus) {
	r.count += int(s.RestartCount)
	if t := s.LastTerminationState.Terminated; t != nil && r.last.Before(&t.FinishedAt) {
		r.last = t.FinishedAt
	}
}

func (r restarts) String() string {
	if r.count == 0 || r.last.IsZero() {
		return strconv.Itoa(r.count)
	}
	return fmt.Sprintf("%d (%s ago)", r.count, duration.HumanDuration(time.Since(r.last.Time)))
}

// summarise looks at the init containers until one is not through; the containers count once all are. Sidecars run
// beside the containers and are counted with them.
func summarise(p *corev1.Pod) summary {
	s := summary{status: or(p.Status.Reason, string(p.Status.Phase)), total: len(p.Spec.Containers)}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Reason == corev1.PodReasonSchedulingGated {
			s.status = corev1.PodReasonSchedulingGated
		}
	}
	if beside, through := s.initial(p); through {
		s.restarts = beside
		s.running(p)
	}
	switch {
	case p.DeletionTimestamp == nil:
	case p.Status.Reason == "NodeLost":
		s.status = "Unknown"
	case p.Status.Phase != corev1.PodFailed && p.Status.Phase != corev1.PodSucceeded:
		s.status = "Terminating"
	}
	return s
}

// initial takes in the init containers. It returns the restarts of the sidecars among them, and whether the
// containers may have begun.
func (s *summary) initial(p *corev1.Pod) (beside restarts, through bool) {
	sidecars := map[string]bool{}
	for i := range p.Spec.InitContainers {
		c := &p.Spec.InitContainers[i]
		if sidecars[c.Name] = sidecar(c); sidecars[c.Name] {
			s.total++
		}
	}
	for i := range p.Status.InitContainerStatuses {
		c := &p.Status.InitContainerStatuses[i]
		s.restarts.add(c)
		if sidecars[c.Name] {
			beside.add(c)
		}
		switch {
		case c.State.Terminated != nil && c.State.Terminated.ExitCode == 0:
		case sidecars[c.Name] && c.Started != nil && *c.Started:
			if c.Ready {
				s.ready++
			}
		default:
			s.status = initState(p, i, c.State)
			return beside, condition(p, corev1.PodInitialized) == corev1.ConditionTrue
		}
	}
	return beside, true
}

func initState(p *corev1.Pod, i int, s corev1.ContainerState) string {
	switch {
	case s.Terminated != nil:
		return "Init:" + terminatedReason(s.Terminated)
	case s.Waiting != nil && s.Waiting.Reason != "" && s.Waiting.Reason != "PodInitializing":
		return "Init:" + s.Waiting.Reason
	}
	return fmt.Sprintf("Init:%d/%d", i, len(p.Spec.InitContainers))
}

func terminatedReason(t *corev1.ContainerStateTerminated) string {
	switch {
	case t.Reason != "":
		return t.Reason
	case t.Signal != 0:
		return fmt.Sprintf("Signal:%d", t.Signal)
	}
	return fmt.Sprintf("ExitCode:%d", t.ExitCode)
}

// running takes in the containers: the first that has something to say says what the pod's status is, but that one
// which is done says nothing of others that run or have failed.
func (s *summary) running(p *corev1.Pod) {
	running, failure := false, ""
	for i := len(p.Status.ContainerStatuses) - 1; i >= 0; i-- {
		c := &p.Status.ContainerStatuses[i]
		s.restarts.add(c)
		switch t := c.State.Terminated; {
		case c.State.Waiting != nil && c.State.Waiting.Reason != "":
			s.status = c.State.Waiting.Reason
		case t != nil:
			if s.status = terminatedReason(t); t.ExitCode != 0 {
				failure = s.status
			}
		case c.Ready && c.State.Running != nil:
			running = true
			s.ready++
		}
	}
	switch {
	case s.status != "Completed":
	case running && isReady(p):
		s.status = "Running"
	case failure != "":
		s.status = failure
	case running:
		s.status = "NotReady"
	}
}

// isReady says whether any of the pod's conditions says so.
func isReady(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}
