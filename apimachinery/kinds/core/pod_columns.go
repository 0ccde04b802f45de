package core

import (
	"fmt"
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
		nameColumn[pod](),
		column("Ready", "string", func(p pod) any { return readyContainers(p) }),
		column("Status", "string", func(p pod) any { return podStatus(p) }),
		column("Restarts", "string", func(p pod) any { return restarts(p) }),
		ageColumn[pod](),
		wide("IP", "string", func(p pod) any { return podIP(p) }),
		wide("Node", "string", func(p pod) any { return or(p.Spec.NodeName, "<none>") }),
		wide("Nominated Node", "string", func(p pod) any { return or(p.Status.NominatedNodeName, "<none>") }),
		wide("Readiness Gates", "string", func(p pod) any { return readinessGates(p) }),
	}
}

func podIP(p *corev1.Pod) string {
	if len(p.Status.PodIPs) > 0 {
		return or(p.Status.PodIPs[0].IP, "<none>")
	}
	return or(p.Status.PodIP, "<none>")
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

// readyContainers counts sidecars in, as they run beside the containers.
func readyContainers(p *corev1.Pod) string {
	ready, total := 0, len(p.Spec.Containers)
	sidecars := sidecarNames(p)
	total += len(sidecars)
	for _, s := range p.Status.InitContainerStatuses {
		if sidecars[s.Name] && s.Ready {
			ready++
		}
	}
	for _, s := range p.Status.ContainerStatuses {
		if s.Ready && s.State.Running != nil {
			ready++
		}
	}
	return fmt.Sprintf("%d/%d", ready, total)
}

func sidecarNames(p *corev1.Pod) map[string]bool {
	names := map[string]bool{}
	for _, c := range p.Spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			names[c.Name] = true
		}
	}
	return names
}

// restarts is the number of restarts, with how long ago the last one was: those of the init containers while
// they run, then those of the containers and sidecars.
func restarts(p *corev1.Pod) string {
	statuses := append([]corev1.ContainerStatus{}, p.Status.ContainerStatuses...)
	sidecars := sidecarNames(p)
	initialising := initReason(p) != ""
	if initialising {
		statuses = nil
	}
	for _, s := range p.Status.InitContainerStatuses {
		if initialising || sidecars[s.Name] {
			statuses = append(statuses, s)
		}
	}
	count, last := 0, metav1.Time{}
	for _, s := range statuses {
		count += int(s.RestartCount)
		if t := s.LastTerminationState.Terminated; t != nil && last.Before(&t.FinishedAt) {
			last = t.FinishedAt
		}
	}
	if count == 0 || last.IsZero() {
		return strconv.Itoa(count)
	}
	return fmt.Sprintf("%d (%s ago)", count, duration.HumanDuration(time.Since(last.Time)))
}

// podStatus is the one word under STATUS: the phase, or whatever says more.
func podStatus(p *corev1.Pod) string {
	status := or(p.Status.Reason, string(p.Status.Phase))
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Reason == corev1.PodReasonSchedulingGated {
			status = corev1.PodReasonSchedulingGated
		}
	}
	if reason := initReason(p); reason != "" {
		status = reason
	} else {
		status = containersReason(p, status)
	}
	switch {
	case p.DeletionTimestamp == nil:
		return status
	case p.Status.Reason == "NodeLost":
		return "Unknown"
	case p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded:
		return status
	}
	return "Terminating"
}

// initReason is "" once the init containers are through.
func initReason(p *corev1.Pod) string {
	sidecars := sidecarNames(p)
	for i, s := range p.Status.InitContainerStatuses {
		if t := s.State.Terminated; t != nil && t.ExitCode == 0 {
			continue
		}
		if sidecars[s.Name] && s.Started != nil && *s.Started {
			continue
		}
		return initState(p, i, s.State)
	}
	return ""
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

// containersReason is what the first container that has something to say says.
func containersReason(p *corev1.Pod, status string) string {
	running := false
	for i := len(p.Status.ContainerStatuses) - 1; i >= 0; i-- {
		s := p.Status.ContainerStatuses[i]
		switch {
		case s.State.Waiting != nil && s.State.Waiting.Reason != "":
			status = s.State.Waiting.Reason
		case s.State.Terminated != nil:
			status = terminatedReason(s.State.Terminated)
		case s.Ready && s.State.Running != nil:
			running = true
		}
	}
	if status == "Completed" && running {
		if condition(p, corev1.PodReady) == corev1.ConditionTrue {
			return "Running"
		}
		return "NotReady"
	}
	return status
}
