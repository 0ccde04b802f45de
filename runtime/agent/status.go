package agent

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/bedplate/bedplate/runtime"
)

// view is what a pod's status is made of, beside the pod.
type view struct {
	members []*member
	// sandbox: it exists and is attached to the network; trouble says why it does not.
	sandbox bool
	trouble string
	// initialized: the init containers are through. over: nothing of the pod runs, or ever will again.
	initialized, over bool
	addrs, hosts      []netip.Addr
	// reason says why the agent ended the pod; empty: it didn't.
	reason, message string
	messages        map[string]string // termination messages by run ID
	last            *corev1.PodStatus // as it was told last; the API may not have it yet
	now             time.Time
}

// statusOf returns the status of a pod: what was known before, with all that the agent knows better. Of a pod that
// has ended only its containers still change.
func statusOf(p *corev1.Pod, v *view) corev1.PodStatus {
	s := *p.Status.DeepCopy()
	setContainers(p, &s, v)
	if hasEnded(p) {
		return s
	}
	if v.last != nil {
		s.StartTime = v.last.StartTime
		for _, c := range v.last.Conditions {
			if owned(c.Type) {
				putCondition(&s, c)
			}
		}
	}
	if s.StartTime == nil {
		s.StartTime = seconds(v.now)
	}
	s.ObservedGeneration = p.Generation
	s.Phase = phaseOf(v)
	s.Reason, s.Message = v.reason, v.message
	s.HostIP, s.HostIPs = "", nil
	for _, a := range v.hosts {
		s.HostIPs = append(s.HostIPs, corev1.HostIP{IP: a.String()})
	}
	if len(v.hosts) > 0 {
		s.HostIP = v.hosts[0].String()
	}
	if v.sandbox || len(v.addrs) > 0 {
		s.PodIP, s.PodIPs = podIPs(v.addrs)
	}
	setConditions(p, &s, v)
	return s
}

// seconds is a time as the API has it.
func seconds(t time.Time) *metav1.Time {
	out := metav1.NewTime(t.Truncate(time.Second))
	return &out
}

func setContainers(p *corev1.Pod, s *corev1.PodStatus, v *view) {
	s.InitContainerStatuses, s.ContainerStatuses = nil, nil
	for _, m := range v.members {
		c := containerStatus(p, m, v)
		if m.init {
			s.InitContainerStatuses = append(s.InitContainerStatuses, c)
		} else {
			s.ContainerStatuses = append(s.ContainerStatuses, c)
		}
	}
	slices.SortStableFunc(s.ContainerStatuses, func(a, b corev1.ContainerStatus) int { return strings.Compare(a.Name, b.Name) })
}

func podIPs(addrs []netip.Addr) (first string, all []corev1.PodIP) {
	for _, a := range addrs {
		all = append(all, corev1.PodIP{IP: a.String()})
	}
	if len(all) > 0 {
		first = all[0].IP
	}
	return first, all
}

// phaseOf follows the meaning of the phases in the Pod Lifecycle documentation.
func phaseOf(v *view) corev1.PodPhase {
	switch {
	case v.reason != "" && v.over:
		return corev1.PodFailed
	case v.over:
		return endPhase(v.members)
	case !v.initialized || slices.ContainsFunc(v.members, func(m *member) bool { return !m.init && !m.ran }):
		return corev1.PodPending
	}
	return corev1.PodRunning
}

// endPhase is Succeeded if every container has, Failed otherwise. How sidecars end does not matter.
func endPhase(members []*member) corev1.PodPhase {
	for _, m := range members {
		if !m.sidecar && (!m.exited() || m.now.ExitCode != 0) {
			return corev1.PodFailed
		}
	}
	return corev1.PodSucceeded
}

func containerStatus(p *corev1.Pod, m *member, v *view) corev1.ContainerStatus {
	c := corev1.ContainerStatus{
		Name: m.spec.Name, Image: m.spec.Image, RestartCount: int32(m.attempt), State: stateOf(p, m, v), Started: ptr.To(m.running() && m.started),
		AllocatedResources: m.spec.Resources.Requests, Resources: m.spec.Resources.DeepCopy(),
		VolumeMounts: mountStatuses(m.spec),
	}
	switch {
	case m.now != nil:
		c.Image, c.ImageID = m.now.Spec.Labels[labelImage], m.now.Spec.Labels[labelImageID]
		c.ContainerID = containerID(m.now)
	case m.prior != nil:
		c.Image, c.ImageID, c.ContainerID = m.prior.Image, m.prior.ImageID, m.prior.ContainerID
	}
	c.LastTerminationState.Terminated = lastRun(m, &c, v)
	switch {
	case m.init && !m.sidecar:
		c.Ready = c.State.Terminated != nil && c.State.Terminated.ExitCode == 0
	default:
		c.Ready = m.running() && m.ready
	}
	return c
}

// lastRun is the newest run that has ended and is not shown as the present state.
func lastRun(m *member, c *corev1.ContainerStatus, v *view) *corev1.ContainerStateTerminated {
	switch {
	case m.exited() && c.State.Terminated == nil:
		return terminated(m.now, v)
	case m.before != nil:
		return terminated(m.before, v)
	case m.prior == nil:
		return nil
	case m.now == nil && c.State.Terminated == nil:
		return lost(m.prior)
	case m.now == nil || Scheme+"://"+m.now.Spec.ID == m.prior.ContainerID:
		return m.prior.LastTerminationState.Terminated
	}
	return lost(m.prior)
}

// lost is how a run ended of which there is nothing but what the API knows.
func lost(prior *corev1.ContainerStatus) *corev1.ContainerStateTerminated {
	if prior.State.Terminated != nil {
		return prior.State.Terminated
	}
	if prior.State.Running == nil && prior.LastTerminationState.Terminated != nil {
		return prior.LastTerminationState.Terminated
	}
	t := unknown("The container could not be located on the node")
	t.ContainerID = prior.ContainerID
	if prior.State.Running != nil {
		t.StartedAt = prior.State.Running.StartedAt
	}
	return t
}

// unknown is the end of a container of which nothing else is known.
func unknown(message string) *corev1.ContainerStateTerminated {
	return &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "ContainerStatusUnknown", Message: message}
}

func mountStatuses(c *corev1.Container) []corev1.VolumeMountStatus {
	var out []corev1.VolumeMountStatus
	for _, m := range c.VolumeMounts {
		s := corev1.VolumeMountStatus{Name: m.Name, MountPath: m.MountPath, ReadOnly: m.ReadOnly}
		if m.ReadOnly {
			s.RecursiveReadOnly = ptr.To(corev1.RecursiveReadOnlyDisabled)
		}
		out = append(out, s)
	}
	return out
}

// Scheme is what the IDs of containers in a pod's status begin with.
const Scheme = "bedplate"

func containerID(s *runtime.ContainerStatus) string { return Scheme + "://" + s.Spec.ID }

func stateOf(p *corev1.Pod, m *member, v *view) corev1.ContainerState {
	ended := func(t *corev1.ContainerStateTerminated) corev1.ContainerState {
		return corev1.ContainerState{Terminated: t}
	}
	switch {
	case m.running():
		return corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: *seconds(m.now.StartedAt)}}
	case m.exited() && (m.waiting == nil && !m.renewing() || v.over):
		return ended(terminated(m.now, v))
	case v.over && m.prior != nil && m.now == nil:
		return ended(lost(m.prior))
	case v.over && v.initialized && !m.init:
		return ended(unknown("The container was never started before the pod ended"))
	case m.waiting != nil:
		return corev1.ContainerState{Waiting: m.waiting}
	case len(p.Spec.InitContainers) > 0:
		return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "PodInitializing"}}
	}
	return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}}
}

func terminated(s *runtime.ContainerStatus, v *view) *corev1.ContainerStateTerminated {
	t := &corev1.ContainerStateTerminated{
		ExitCode: int32(s.ExitCode), Reason: s.Reason, Message: s.Message,
		FinishedAt: *seconds(s.FinishedAt), ContainerID: containerID(s),
	}
	if !s.StartedAt.IsZero() {
		t.StartedAt = *seconds(s.StartedAt)
	}
	if m := v.messages[s.Spec.ID]; m != "" {
		t.Message = m
	}
	return t
}

// owned says whether a condition belongs to the node. Others may set those that don't.
func owned(t corev1.PodConditionType) bool {
	switch t {
	case corev1.PodReadyToStartContainers, corev1.PodInitialized, corev1.ContainersReady, corev1.PodReady, corev1.PodScheduled:
		return true
	}
	return false
}

// setConditions sets the conditions that belong to the node, and leaves all others as they are.
func setConditions(p *corev1.Pod, s *corev1.PodStatus, v *view) {
	set := func(t corev1.PodConditionType, met bool, reason, message string) {
		c := corev1.PodCondition{Type: t, Status: corev1.ConditionFalse, Reason: reason, Message: message, ObservedGeneration: p.Generation}
		if met {
			c.Status, c.Reason, c.Message = corev1.ConditionTrue, "", ""
		}
		setCondition(s, c, v.now)
	}
	ended := map[corev1.PodPhase]string{corev1.PodSucceeded: "PodCompleted", corev1.PodFailed: "PodFailed"}[s.Phase]
	set(corev1.PodReadyToStartContainers, v.sandbox && !v.over, "", v.trouble)
	set(corev1.PodInitialized, v.initialized || s.Phase == corev1.PodSucceeded, "ContainersNotInitialized",
		"containers with incomplete status: "+list(uninitialized(v.members)))
	unready := unreadyNames(v.members)
	reason, message := "ContainersNotReady", "containers with unready status: "+list(unready)
	if ended != "" {
		reason, message = ended, ""
	}
	ready := ended == "" && v.initialized && len(unready) == 0
	set(corev1.ContainersReady, ready, reason, message)
	if missing := missingGates(p, s); ready && len(missing) > 0 {
		ready, reason = false, "ReadinessGatesNotReady"
		message = "the status of pod readiness gate " + list(missing) + " is not \"True\""
	}
	set(corev1.PodReady, ready, reason, message)
	set(corev1.PodScheduled, true, "", "")
}

// setCondition sets a condition; when it came about stays unless it is new.
func setCondition(s *corev1.PodStatus, c corev1.PodCondition, now time.Time) {
	c.LastTransitionTime = *seconds(now)
	for _, have := range s.Conditions {
		if have.Type == c.Type {
			c.LastProbeTime = have.LastProbeTime
			if have.Status == c.Status {
				c.LastTransitionTime = have.LastTransitionTime
			}
		}
	}
	putCondition(s, c)
}

func putCondition(s *corev1.PodStatus, c corev1.PodCondition) {
	for i, have := range s.Conditions {
		if have.Type == c.Type {
			s.Conditions[i] = c
			return
		}
	}
	s.Conditions = append(s.Conditions, c)
}

func unreadyNames(members []*member) []string {
	var names []string
	for _, m := range members {
		if (!m.init || m.sidecar) && !(m.running() && m.ready) {
			names = append(names, m.spec.Name)
		}
	}
	return names
}

func uninitialized(members []*member) []string {
	var names []string
	for _, m := range members {
		if m.init && !(m.exited() && m.now.ExitCode == 0) && !(m.sidecar && m.running() && m.started) {
			names = append(names, m.spec.Name)
		}
	}
	return names
}

func missingGates(p *corev1.Pod, s *corev1.PodStatus) []string {
	var missing []string
	for _, g := range p.Spec.ReadinessGates {
		met := slices.ContainsFunc(s.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == g.ConditionType && c.Status == corev1.ConditionTrue
		})
		if !met {
			missing = append(missing, string(g.ConditionType))
		}
	}
	return missing
}

func list(names []string) string { return "[" + strings.Join(names, " ") + "]" }
