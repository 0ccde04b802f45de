package agent

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/bedplate/bedplate/runtime"
)

var clock = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

type change func(*member)

func running(m *member) {
	m.now = &runtime.ContainerStatus{State: runtime.StateRunning, StartedAt: clock}
	m.started, m.ready = true, true
}

func exit(code int) change {
	return func(m *member) {
		m.now = &runtime.ContainerStatus{State: runtime.StateExited, ExitCode: code, FinishedAt: clock}
	}
}

func initial(m *member) { m.init = true }
func beside(m *member)  { m.init, m.sidecar = true, true }
func attempt(n int) change {
	return func(m *member) { m.attempt = n }
}

func one(name string, changes ...change) *member {
	m := &member{spec: &corev1.Container{Name: name}}
	for _, c := range changes {
		c(m)
	}
	return m
}

func names(members []*member) []string {
	out := []string{}
	for _, m := range members {
		out = append(out, m.spec.Name)
	}
	return out
}

func TestPlan(t *testing.T) {
	const always, onFailure, never = corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever
	none := []string{}
	for name, c := range map[string]struct {
		policy      corev1.RestartPolicy
		members     []*member
		start, stop []string
		initialized bool
		over        bool
	}{
		"all at once":             {always, []*member{one("a"), one("b")}, []string{"a", "b"}, none, true, false},
		"init first":              {always, []*member{one("i", initial), one("j", initial), one("a")}, []string{"i"}, none, false, false},
		"init runs":               {always, []*member{one("i", initial, running), one("a")}, none, none, false, false},
		"then the next":           {always, []*member{one("i", initial, exit(0)), one("j", initial), one("a")}, []string{"j"}, none, false, false},
		"then the rest":           {always, []*member{one("i", initial, exit(0)), one("a")}, []string{"a"}, none, true, false},
		"init again":              {onFailure, []*member{one("i", initial, exit(1)), one("a")}, []string{"i"}, none, false, false},
		"init failed for good":    {never, []*member{one("i", initial, exit(1)), one("a")}, none, none, false, true},
		"sidecar first":           {always, []*member{one("s", beside), one("a")}, []string{"s"}, none, false, false},
		"sidecar beside":          {always, []*member{one("s", beside, running), one("a")}, []string{"a"}, none, true, false},
		"sidecar again":           {always, []*member{one("s", beside, exit(0)), one("a", running)}, []string{"s"}, none, true, false},
		"sidecar stops at end":    {never, []*member{one("s", beside, running), one("a", exit(0))}, none, []string{"s"}, true, false},
		"over with its sidecar":   {never, []*member{one("s", beside, exit(1)), one("a", exit(0))}, none, none, true, true},
		"runs":                    {always, []*member{one("a", running)}, none, none, true, false},
		"again at once":           {always, []*member{one("a", exit(0))}, []string{"a"}, none, true, false},
		"success is enough":       {onFailure, []*member{one("a", exit(0)), one("b", running)}, none, none, true, false},
		"failure is not":          {onFailure, []*member{one("a", exit(3))}, []string{"a"}, none, true, false},
		"over":                    {onFailure, []*member{one("a", exit(0)), one("b", exit(0))}, none, none, true, true},
		"never again":             {never, []*member{one("a", exit(1))}, none, none, true, true},
		"paused":                  {always, []*member{one("a", exit(1), attempt(1))}, none, none, true, false},
		"init does not run again": {always, []*member{one("i", initial, exit(1)), one("a", running)}, none, none, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			d := plan(c.policy, c.members, clock)
			require.Equal(t, c.start, names(d.start), "start")
			require.Equal(t, c.stop, names(d.stop), "stop")
			require.Equal(t, c.initialized, d.initialized, "initialized")
			require.Equal(t, c.over, d.over, "over")
		})
	}
}

func TestBackoff(t *testing.T) {
	want := []time.Duration{0, 10, 20, 40, 80, 160, 300, 300, 300}
	for n, seconds := range want {
		require.Equal(t, seconds*time.Second, backoff(one("a", attempt(n))))
	}
	m := one("a", exit(1), attempt(2))
	require.Equal(t, clock.Add(20*time.Second), plan(corev1.RestartPolicyAlways, []*member{m}, clock).wake)
	require.Empty(t, plan(corev1.RestartPolicyAlways, []*member{m}, clock.Add(19*time.Second)).start)
	require.Len(t, plan(corev1.RestartPolicyAlways, []*member{m}, clock.Add(20*time.Second)).start, 1)
	m.calm = 2
	require.Zero(t, backoff(m), "a long run makes up for failures")
}

func TestRestartRules(t *testing.T) {
	never := corev1.ContainerRestartPolicyNever
	m := one("a", exit(42))
	m.spec.RestartPolicy = &never
	m.spec.RestartPolicyRules = []corev1.ContainerRestartRule{{
		Action:    corev1.ContainerRestartRuleActionRestart,
		ExitCodes: &corev1.ContainerRestartRuleOnExitCodes{Operator: corev1.ContainerRestartRuleOnExitCodesOpIn, Values: []int32{42}},
	}}
	require.True(t, restarts(corev1.RestartPolicyAlways, m))
	m.now.ExitCode = 1
	require.False(t, restarts(corev1.RestartPolicyAlways, m))
}
