package agent

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// decision is what a worker shall do next.
type decision struct {
	start, stop []*member
	// waits are those that would be started if it weren't for a pause.
	waits []*member
	// wake is when to decide again although nothing happened; zero: never.
	wake time.Time
	// initialized: the init containers are through. over: everything has ended for good.
	initialized, over bool
}

// plan decides what a pod that shall run needs next. It is a pure function of the pod's restart policy, its
// containers and the time.
func plan(policy corev1.RestartPolicy, members []*member, now time.Time) decision {
	var d decision
	proceed, failed := planInit(&d, policy, members, now)
	d.initialized = proceed
	alive := 0
	for _, m := range members {
		if m.init {
			continue
		}
		switch {
		case m.busy:
			alive++
		case m.running():
			alive++
			if failed {
				d.stop = append(d.stop, m)
			}
		case failed:
		case proceed && (!m.exited() || restarts(policy, m)):
			alive++
			d.startOrWait(m, now)
		case !proceed:
			alive++
		}
	}
	if alive == 0 && (proceed || failed) {
		d.over = !d.stopSidecars(members)
	}
	for _, m := range members {
		if m.doomed() && !m.busy && !slices.Contains(d.stop, m) {
			d.stop = append(d.stop, m)
		}
	}
	return d
}

// planInit walks through the init containers: proceed says that the others may run, failed that they never will.
func planInit(d *decision, policy corev1.RestartPolicy, members []*member, now time.Time) (proceed, failed bool) {
	done, begun := finished(policy, members), begun(members)
	for _, m := range members {
		if !m.init || begun && !m.sidecar {
			continue
		}
		switch {
		case m.busy && !m.sidecar:
			return false, false
		case m.sidecar && done:
		case m.sidecar:
			if !m.running() {
				d.startOrWait(m, now)
			}
			if !begun && !(m.running() && m.started) {
				return false, false
			}
		case m.running():
			return false, false
		case !m.exited():
			d.startOrWait(m, now)
			return false, false
		case m.now.ExitCode == 0:
		case restarts(policy, m):
			d.startOrWait(m, now)
			return false, false
		default:
			return false, true
		}
	}
	return true, false
}

// begun says whether the init containers were through once: nothing waits for a sidecar again then.
func begun(members []*member) bool {
	return slices.ContainsFunc(members, func(m *member) bool { return !m.init && m.now != nil })
}

// finished says whether all regular containers have ended for good: sidecars aren't started again then.
func finished(policy corev1.RestartPolicy, members []*member) bool {
	return !slices.ContainsFunc(members, func(m *member) bool {
		return !m.init && (!m.exited() || restarts(policy, m))
	})
}

// stopSidecars stops what still runs beside containers that have all ended, the last first, and says whether
// there was any.
func (d *decision) stopSidecars(members []*member) bool {
	for _, m := range slices.Backward(members) {
		if m.sidecar && (m.running() || m.busy) {
			if !m.busy {
				d.stop = append(d.stop, m)
			}
			return true
		}
	}
	return false
}

func (d *decision) startOrWait(m *member, now time.Time) {
	if m.busy {
		return
	}
	at := m.retry
	if m.exited() && !m.renewing() {
		at = later(at, m.now.FinishedAt.Add(backoff(m)))
	}
	if at.After(now) {
		d.wake = earlier(d.wake, at)
		d.waits = append(d.waits, m)
		return
	}
	d.start = append(d.start, m)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

const (
	firstBackoff = 10 * time.Second
	mostBackoff  = 5 * time.Minute
	// A run of this length makes up for the failures before it.
	calmRun = 10 * time.Minute
)

// backoff is the pause after a run: none after the first, then 10 s, doubled each time up to 5 min.
func backoff(m *member) time.Duration {
	failures := m.attempt - m.calm
	if failures <= 0 {
		return 0
	}
	if failures > 6 {
		return mostBackoff
	}
	return min(firstBackoff<<(failures-1), mostBackoff)
}

// restarts says whether a container that has ended shall run again.
func restarts(policy corev1.RestartPolicy, m *member) bool {
	if m.renewing() {
		return true
	}
	if m.spec.RestartPolicy != nil {
		for _, rule := range m.spec.RestartPolicyRules {
			if rule.Action == corev1.ContainerRestartRuleActionRestart && matches(rule.ExitCodes, m.now.ExitCode) {
				return true
			}
		}
		policy = corev1.RestartPolicy(*m.spec.RestartPolicy)
	}
	switch policy {
	case corev1.RestartPolicyNever:
		return false
	case corev1.RestartPolicyOnFailure:
		return m.now.ExitCode != 0
	}
	return !m.init || m.sidecar || m.now.ExitCode != 0
}

func matches(rule *corev1.ContainerRestartRuleOnExitCodes, code int) bool {
	if rule == nil {
		return false
	}
	in := slices.Contains(rule.Values, int32(code))
	return in == (rule.Operator == corev1.ContainerRestartRuleOnExitCodesOpIn)
}
