package agent

import (
	"encoding/json"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/strategicpatch"

	"github.com/bedplate/bedplate/runtime"
)

func ran(m *member) { m.ran = true }

func ends(code int) change {
	return func(m *member) { exit(code)(m); m.ran = true }
}

func TestPhases(t *testing.T) {
	runs := func(m *member) { running(m); m.ran = true }
	for name, c := range map[string]struct {
		members           []*member
		initialized, over bool
		reason            string
		want              corev1.PodPhase
	}{
		"new":                    {[]*member{one("a")}, true, false, "", corev1.PodPending},
		"one of two runs":        {[]*member{one("a", runs), one("b")}, true, false, "", corev1.PodPending},
		"all run":                {[]*member{one("a", runs), one("b", runs)}, true, false, "", corev1.PodRunning},
		"init runs":              {[]*member{one("i", initial, runs), one("a")}, false, false, "", corev1.PodPending},
		"between two runs":       {[]*member{one("a", ends(1))}, true, false, "", corev1.PodRunning},
		"known from before only": {[]*member{one("a", ran)}, true, false, "", corev1.PodRunning},
		"ended well":             {[]*member{one("a", ends(0)), one("b", ends(0))}, true, true, "", corev1.PodSucceeded},
		"ended badly":            {[]*member{one("a", ends(0)), one("b", ends(1))}, true, true, "", corev1.PodFailed},
		"its sidecar did":        {[]*member{one("s", beside, ends(1)), one("a", ends(0))}, true, true, "", corev1.PodSucceeded},
		"ended by us":            {[]*member{one("a", ends(0))}, true, true, "DeadlineExceeded", corev1.PodFailed},
		"being ended":            {[]*member{one("a", runs)}, true, false, "DeadlineExceeded", corev1.PodRunning},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.want, phaseOf(&view{members: c.members, initialized: c.initialized, over: c.over, reason: c.reason}))
		})
	}
}

// TestStatusIsStable: looking again changes nothing, whether the API has the last status yet or not.
func TestStatusIsStable(t *testing.T) {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "a", Generation: 3}}
	v := &view{members: []*member{one("a", running, ran)}, initialized: true, sandbox: true, hosts: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, now: clock.Add(1234567)}
	first := statusOf(p, v)
	require.Equal(t, corev1.ConditionTrue, first.Conditions[3].Status)
	v.last, v.now = &first, clock.Add(time.Hour)
	require.Equal(t, first, statusOf(p, v), "before the API has it")
	b, err := json.Marshal(first)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &p.Status))
	v.last = nil
	again := statusOf(p, v)
	bb, err := json.Marshal(again)
	require.NoError(t, err)
	require.JSONEq(t, string(b), string(bb), "by another agent")

	// A condition that turns has the time at which it did.
	v.members[0].ready = false
	turned := statusOf(p, v)
	require.Equal(t, corev1.PodReady, turned.Conditions[3].Type)
	require.True(t, turned.Conditions[3].LastTransitionTime.Equal(&metav1.Time{Time: clock.Add(time.Hour)}))
	require.True(t, turned.Conditions[0].LastTransitionTime.Equal(&metav1.Time{Time: clock}))
}

// TestLostRuns: of runs of which the runtime knows nothing any more, what the API knows is kept.
func TestLostRuns(t *testing.T) {
	started := metav1.NewTime(clock)
	p := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c"}, {Name: "new"}}}}
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{
		Name: "c", ContainerID: "bedplate://x", ImageID: "i", RestartCount: 2, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: started}},
	}}
	members := membersOf(p)
	require.Equal(t, 3, members[0].next(), "numbers are not used twice")
	require.Equal(t, 0, members[1].next())
	s := statusOf(p, &view{members: members, initialized: true, now: clock})
	require.Equal(t, "ContainerCreating", s.ContainerStatuses[0].State.Waiting.Reason)
	require.Equal(t, "ContainerStatusUnknown", s.ContainerStatuses[0].LastTerminationState.Terminated.Reason)
	require.EqualValues(t, 2, s.ContainerStatuses[0].RestartCount)

	p.Status.Phase = corev1.PodFailed
	p.Status.ContainerStatuses[0].State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 7, ContainerID: "bedplate://x"}}
	p.Status.Reason = "Evicted"
	s = statusOf(p, &view{members: membersOf(p), initialized: true, over: true, now: clock})
	require.EqualValues(t, 7, s.ContainerStatuses[0].State.Terminated.ExitCode)
	require.Equal(t, "Evicted", s.Reason, "how others ended it stays")
	require.Equal(t, "ContainerStatusUnknown", s.ContainerStatuses[1].State.Terminated.Reason)
}

// TestNeverStarted: what never ran because an init container failed goes on saying so.
func TestNeverStarted(t *testing.T) {
	p := &corev1.Pod{Spec: corev1.PodSpec{InitContainers: []corev1.Container{{Name: "i"}}}}
	v := &view{members: []*member{one("i", initial, ends(1)), one("c")}, over: true, now: clock}
	for range 2 {
		p.Status = statusOf(p, v)
		require.Equal(t, corev1.PodFailed, p.Status.Phase)
		require.EqualValues(t, 1, p.Status.InitContainerStatuses[0].State.Terminated.ExitCode)
		require.Equal(t, "PodInitializing", p.Status.ContainerStatuses[0].State.Waiting.Reason)
	}
}

// TestPatchReplaces: a patch takes back what no longer holds, and leaves alone what is others'.
func TestPatchReplaces(t *testing.T) {
	old := corev1.PodStatus{
		Phase: corev1.PodRunning, Reason: "Old", Message: "old", NominatedNodeName: "x",
		PodIP: "10.0.0.1", PodIPs: []corev1.PodIP{{IP: "10.0.0.1"}}, HostIPs: []corev1.HostIP{{IP: "10.0.0.2"}},
		Conditions: []corev1.PodCondition{
			{Type: corev1.PodReady, Status: corev1.ConditionFalse, Reason: "NotYet", Message: "wait"},
			{Type: "example.com/mine", Status: corev1.ConditionTrue},
		},
		ContainerStatuses: []corev1.ContainerStatus{{Name: "a"}, {Name: "b"}},
	}
	now := corev1.PodStatus{
		Phase: corev1.PodRunning, PodIP: "10.0.0.3", PodIPs: []corev1.PodIP{{IP: "10.0.0.3"}},
		Conditions: []corev1.PodCondition{
			{Type: corev1.PodReady, Status: corev1.ConditionTrue},
			{Type: "example.com/mine", Status: corev1.ConditionFalse},
		},
		ContainerStatuses: []corev1.ContainerStatus{{Name: "b"}},
	}
	original, err := json.Marshal(corev1.Pod{Status: old})
	require.NoError(t, err)
	patch, err := json.Marshal(map[string]any{"status": podStatusPatch(&now)})
	require.NoError(t, err)
	merged, err := strategicpatch.StrategicMergePatch(original, patch, corev1.Pod{})
	require.NoError(t, err)
	var got corev1.Pod
	require.NoError(t, json.Unmarshal(merged, &got))
	require.Equal(t, corev1.PodStatus{
		Phase: corev1.PodRunning, NominatedNodeName: "x", HostIPs: []corev1.HostIP{}, PodIP: "10.0.0.3", PodIPs: []corev1.PodIP{{IP: "10.0.0.3"}},
		Conditions: []corev1.PodCondition{
			{Type: corev1.PodReady, Status: corev1.ConditionTrue},
			{Type: "example.com/mine", Status: corev1.ConditionTrue},
		},
		ContainerStatuses: []corev1.ContainerStatus{{Name: "b"}},
	}, got.Status)
}

func TestLook(t *testing.T) {
	at := func(attempt, calm string, s runtime.State) runtime.ContainerStatus {
		return runtime.ContainerStatus{
			Spec:  runtime.ContainerSpec{ID: "r" + attempt, Labels: map[string]string{labelAttempt: attempt, labelCalm: calm}},
			State: s, StartedAt: clock, FinishedAt: clock.Add(calmRun),
		}
	}
	m := one("a")
	m.look([]runtime.ContainerStatus{at("2", "0", runtime.StateExited), at("10", "2", runtime.StateRunning), at("9", "2", runtime.StateExited), at("11", "2", runtime.StateCreated)})
	require.Equal(t, "r10", m.now.Spec.ID)
	require.Equal(t, "r9", m.before.Spec.ID)
	require.Equal(t, "r11", m.unstarted.Spec.ID)
	require.Equal(t, 11, m.next())
	require.Equal(t, 2, m.calm)
	m.look([]runtime.ContainerStatus{at("10", "2", runtime.StateExited)})
	require.Equal(t, 10, m.calm, "it ran for long")
	m.look(nil)
	require.Equal(t, 11, m.next(), "numbers are not used twice")
}
