package nodelifecycle

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func epoch(second int) time.Time { return time.Unix(int64(second), 0) }

// nodeWith has conditions "Type=Status" and taints "key:Effect@second".
func nodeWith(conditions string, taints ...string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", UID: "u"}}
	for c := range strings.FieldsSeq(conditions) {
		t, status, _ := strings.Cut(c, "=")
		n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{Type: corev1.NodeConditionType(t), Status: corev1.ConditionStatus(status)})
	}
	for _, text := range taints {
		n.Spec.Taints = append(n.Spec.Taints, parseTaint(text))
	}
	return n
}

func parseTaint(text string) corev1.Taint {
	text, when, _ := strings.Cut(text, "@")
	key, effect, _ := strings.Cut(text, ":")
	key, value, _ := strings.Cut(key, "=")
	t := corev1.Taint{Key: key, Value: value, Effect: corev1.TaintEffect(effect)}
	if !strings.Contains(key, "/") && key != "own" {
		t.Key = "node.kubernetes.io/" + key
	}
	if when != "" {
		var second int
		_, _ = fmt.Sscan(when, &second)
		t.TimeAdded = new(metav1.NewTime(epoch(second)))
	}
	return t
}

func taintText(taints []corev1.Taint) string {
	var out []string
	for _, t := range taints {
		s := strings.TrimPrefix(t.Key, "node.kubernetes.io/") + ":" + string(t.Effect)
		if t.TimeAdded != nil {
			s += fmt.Sprint("@", t.TimeAdded.Unix())
		}
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

func TestTaints(t *testing.T) {
	now := epoch(100)
	tests := []struct {
		name string
		node *corev1.Node
		e    Execution
		want string // "" where nothing changes
	}{
		{"healthy", nodeWith("Ready=True"), Hold, ""},
		{"healthy with others' taints", nodeWith("Ready=True", "own:NoExecute@1", "own:NoSchedule"), Hold, ""},
		{"not ready, no turn", nodeWith("Ready=False"), Hold, "not-ready:NoSchedule@100"},
		{"not ready", nodeWith("Ready=False"), Evict, "not-ready:NoSchedule@100 not-ready:NoExecute@100"},
		{"silent", nodeWith("Ready=Unknown", "own:NoSchedule"), Evict, "own:NoSchedule unreachable:NoSchedule@100 unreachable:NoExecute@100"},
		{"silent, in place", nodeWith("Ready=Unknown", "unreachable:NoSchedule@7", "unreachable:NoExecute@8"), Hold, ""},
		{"from not ready to silent", nodeWith("Ready=Unknown", "not-ready:NoSchedule@7", "not-ready:NoExecute@8"), Hold, "unreachable:NoSchedule@100 unreachable:NoExecute@8"},
		{"from silent to not ready", nodeWith("Ready=False", "unreachable:NoSchedule@7", "unreachable:NoExecute@8"), Hold, "not-ready:NoSchedule@100 not-ready:NoExecute@8"},
		{"recovered", nodeWith("Ready=True", "unreachable:NoSchedule@7", "unreachable:NoExecute@8", "own:NoExecute"), Hold, "own:NoExecute"},
		{"stopped", nodeWith("Ready=Unknown", "unreachable:NoSchedule@7", "unreachable:NoExecute@8"), Lift, "unreachable:NoSchedule@7"},
		{"stopped, changing", nodeWith("Ready=Unknown", "not-ready:NoExecute@8"), Lift, "unreachable:NoSchedule@100"},
		{"new, tainted by its agent", nodeWith("", "not-ready:NoExecute@8"), Hold, ""},
		{"pressures", nodeWith("Ready=True MemoryPressure=True DiskPressure=True PIDPressure=True NetworkUnavailable=True"), Hold,
			"memory-pressure:NoSchedule@100 disk-pressure:NoSchedule@100 pid-pressure:NoSchedule@100 network-unavailable:NoSchedule@100"},
		{"pressures over", nodeWith("Ready=True MemoryPressure=False DiskPressure=Unknown", "memory-pressure:NoSchedule@1", "disk-pressure:NoSchedule@1"), Hold, "-"},
		{"uncordoned", nodeWith("Ready=True", "unschedulable:NoSchedule@1"), Hold, "-"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			before := test.node.DeepCopy()
			got, changed := Taints(test.node, test.e, now)
			require.Equal(t, before, test.node)
			require.Equal(t, test.want != "", changed)
			if changed {
				require.Equal(t, strings.Trim(test.want, "-"), strings.TrimSpace(taintText(got)))
			} else {
				require.Equal(t, before.Spec.Taints, got)
			}
			test.node.Spec.Taints = got
			_, again := Taints(test.node, test.e, now)
			require.False(t, again, "it doesn't come to rest")
		})
	}
	cordoned := nodeWith("Ready=True")
	cordoned.Spec.Unschedulable = true
	got, _ := Taints(cordoned, Hold, now)
	require.Equal(t, "unschedulable:NoSchedule@100", taintText(got))
}

func TestSilent(t *testing.T) {
	n := nodeWith("Ready=True MemoryPressure=False NetworkUnavailable=False Other=True")
	n.CreationTimestamp = metav1.NewTime(epoch(5))
	got, changed := Silent(n, epoch(100))
	require.True(t, changed)
	var lines []string
	for _, c := range got {
		lines = append(lines, fmt.Sprint(c.Type, " ", c.Status, " ", c.Reason))
	}
	require.Equal(t, []string{
		"Ready Unknown NodeStatusUnknown", "MemoryPressure Unknown NodeStatusUnknown", "NetworkUnavailable False ", "Other True ",
		"DiskPressure Unknown NodeStatusNeverUpdated", "PIDPressure Unknown NodeStatusNeverUpdated",
	}, lines)
	n.Status.Conditions = got
	_, changed = Silent(n, epoch(200))
	require.False(t, changed)
}

func toleration(text string, seconds ...int64) corev1.Toleration {
	t := corev1.Toleration{}
	key, effect, _ := strings.Cut(text, ":")
	t.Key, t.Effect, t.Operator = key, corev1.TaintEffect(effect), corev1.TolerationOpExists
	if k, v, ok := strings.Cut(key, "="); ok {
		t.Key, t.Value, t.Operator = k, v, corev1.TolerationOpEqual
	}
	if k, v, ok := strings.Cut(key, ">"); ok {
		t.Key, t.Value, t.Operator = k, v, corev1.TolerationOpGt
	}
	if len(seconds) > 0 {
		t.TolerationSeconds = &seconds[0]
	}
	return t
}

func TestEvictAt(t *testing.T) {
	one := []corev1.Taint{{Key: "a", Value: "5", Effect: corev1.TaintEffectNoExecute, TimeAdded: new(metav1.NewTime(epoch(10)))}}
	two := append(one[:1:1], corev1.Taint{Key: "b", Effect: corev1.TaintEffectNoExecute, TimeAdded: new(metav1.NewTime(epoch(20)))})
	tests := []struct {
		name        string
		taints      []corev1.Taint
		tolerations []corev1.Toleration
		want        int // second; -1: stays
	}{
		{"no taint", nil, nil, -1},
		{"another effect", []corev1.Taint{{Key: "a", Effect: corev1.TaintEffectNoSchedule}}, nil, -1},
		{"intolerant", one, nil, 10},
		{"another taint's", one, []corev1.Toleration{toleration("b")}, 10},
		{"forever", one, []corev1.Toleration{toleration("a")}, -1},
		{"anything forever", two, []corev1.Toleration{toleration("")}, -1},
		{"for a time", one, []corev1.Toleration{toleration("a", 300)}, 310},
		{"for no time", one, []corev1.Toleration{toleration("a", -3)}, 10},
		{"nearly forever", one, []corev1.Toleration{toleration("a", 1<<62)}, -2},
		{"another value", one, []corev1.Toleration{toleration("a=6")}, 10},
		{"its value", one, []corev1.Toleration{toleration("a=5:NoExecute")}, -1},
		{"another effect's", one, []corev1.Toleration{toleration("a:NoSchedule")}, 10},
		{"greater", one, []corev1.Toleration{toleration("a>4")}, -1},
		{"not greater", one, []corev1.Toleration{toleration("a>5")}, 10},
		{"the first that matches", one, []corev1.Toleration{toleration("a", 60), toleration("a", 5)}, 70},
		{"the least patient", two, []corev1.Toleration{toleration("a", 60), toleration("b", 5)}, 25},
		{"one of two", two, []corev1.Toleration{toleration("a")}, 20},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := &corev1.Pod{Spec: corev1.PodSpec{Tolerations: test.tolerations}}
			at, leave := EvictAt(p, test.taints, func(t corev1.Taint) time.Time { return t.TimeAdded.Time })
			require.Equal(t, test.want != -1, leave)
			if test.want >= 0 {
				require.Equal(t, epoch(test.want), at)
			} else if leave {
				require.True(t, at.After(epoch(1<<33)))
			}
		})
	}
}

func TestZones(t *testing.T) {
	c := Config{}
	require.NoError(t, c.validate())
	z := newZones(c)
	in := func(zone, name string, ready corev1.ConditionStatus) *corev1.Node {
		n := nodeWith("Ready=" + string(ready))
		n.Name, n.Labels = name, map[string]string{corev1.LabelTopologyZone: zone}
		return n
	}
	require.False(t, z.stopped())
	z.set(in("a", "a1", "False"), epoch(0))
	require.True(t, z.stopped())
	z.set(in("b", "b1", "True"), epoch(0))
	require.False(t, z.stopped())

	a := zoneOf(in("a", "", ""))
	require.Zero(t, z.take(a, epoch(0)), "the first goes at once")
	require.Equal(t, look, z.take(a, epoch(0)))
	require.Equal(t, look, z.take(a, epoch(5)))
	require.Zero(t, z.take(a, epoch(10)))
	require.Zero(t, z.take(zoneOf(in("b", "", "")), epoch(10)), "each zone has a pace of its own")

	for i := range 10 {
		z.set(in("a", fmt.Sprint("a", i), []corev1.ConditionStatus{"True", "Unknown"}[min(1, i/4)]), epoch(20))
	}
	require.Equal(t, look, z.take(a, epoch(1000)), "a small zone that is mostly down is left alone")
	for i := range 10 {
		z.set(in("a", fmt.Sprint("a", i), "Unknown"), epoch(1000))
	}
	require.Zero(t, z.take(a, epoch(1010)), "a zone that is all down, while others are up, is not")
	for i := range 60 {
		z.set(in("a", fmt.Sprint("a", i), []corev1.ConditionStatus{"True", "Unknown"}[min(1, i/20)]), epoch(1010))
	}
	require.Equal(t, look, z.take(a, epoch(1060)), "a large one is slower")
	require.Zero(t, z.take(a, epoch(1110)))

	z.remove("b1")
	outside := in("b", "b1", "True")
	outside.Labels[excluded] = ""
	z.set(outside, epoch(2000))
	for i := range 60 {
		z.remove(fmt.Sprint("a", i))
	}
	require.False(t, z.stopped())
	require.ErrorContains(t, (&Config{Unhealthy: 2}).validate(), "at most 1")
}
