package pods_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/bedplate/bedplate/scheduling"
	"github.com/bedplate/bedplate/scheduling/pods"
	"github.com/bedplate/bedplate/scheduling/schedulingtest"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// list makes a resource list of name and quantity in turn.
func list(pairs ...string) corev1.ResourceList {
	l := corev1.ResourceList{}
	for i := 0; i < len(pairs); i += 2 {
		l[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	return l
}

func container(pairs ...string) corev1.Container {
	return corev1.Container{Name: "c", Resources: corev1.ResourceRequirements{Requests: list(pairs...)}}
}

func pod(name string, change ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
	for _, c := range change {
		c(p)
	}
	return p
}

func requests(pairs ...string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.Containers = append(p.Spec.Containers, container(pairs...)) }
}

func node(name string, change ...func(*corev1.Node)) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}}}
	n.Status.Allocatable = list("cpu", "4", "memory", "8Gi", "pods", "110")
	for _, c := range change {
		c(n)
	}
	return n
}

func offers(pairs ...string) func(*corev1.Node) {
	return func(n *corev1.Node) { n.Status.Allocatable = list(pairs...) }
}

func labelled(key, value string) func(*corev1.Node) {
	return func(n *corev1.Node) { n.Labels[key] = value }
}

func tainted(key, value string, effect corev1.TaintEffect) func(*corev1.Node) {
	return func(n *corev1.Node) {
		n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: key, Value: value, Effect: effect})
	}
}

// pick returns one of several.
func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

// randomNode has few different properties, so that they often coincide.
func randomNode(r *rand.Rand, name string) *corev1.Node {
	n := node(name, offers("cpu", pick(r, "0", "1", "4"), "memory", pick(r, "0", "1Gi", "8Gi"), "pods", pick(r, "1", "3", "110")))
	if r.IntN(3) == 0 {
		n.Status.Allocatable["example.com/gpu"] = resource.MustParse(pick(r, "0", "1", "4"))
	}
	if r.IntN(3) == 0 {
		n.Status.Allocatable[corev1.ResourceEphemeralStorage] = resource.MustParse("1Gi")
	}
	if r.IntN(2) == 0 {
		n.Labels["zone"] = pick(r, "a", "b", "c")
	}
	if r.IntN(2) == 0 {
		n.Labels["size"] = pick(r, "1", "2", "30", "big")
	}
	for range r.IntN(3) {
		tainted(pick(r, "dedicated", "spot"), pick(r, "", "x"), pick(r, corev1.TaintEffectNoSchedule, corev1.TaintEffectNoExecute, corev1.TaintEffectPreferNoSchedule))(n)
	}
	n.Spec.Unschedulable = r.IntN(4) == 0
	return n
}

func randomRequirement(r *rand.Rand) corev1.NodeSelectorRequirement {
	op := pick(r, corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn, corev1.NodeSelectorOpExists, corev1.NodeSelectorOpDoesNotExist, corev1.NodeSelectorOpGt, corev1.NodeSelectorOpLt)
	req := corev1.NodeSelectorRequirement{Key: pick(r, "zone", "size", "absent"), Operator: op}
	switch op {
	case corev1.NodeSelectorOpGt, corev1.NodeSelectorOpLt:
		req.Values = []string{pick(r, "0", "2", "100")}
	case corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn:
		for range 1 + r.IntN(2) {
			req.Values = append(req.Values, pick(r, "a", "b", "z", "30"))
		}
	}
	return req
}

func randomTerm(r *rand.Rand) corev1.NodeSelectorTerm {
	var t corev1.NodeSelectorTerm
	for range r.IntN(3) {
		t.MatchExpressions = append(t.MatchExpressions, randomRequirement(r))
	}
	if r.IntN(4) == 0 {
		t.MatchFields = []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: pick(r, corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn), Values: []string{fmt.Sprint("host-", r.IntN(12))}}}
	}
	return t
}

func randomPod(r *rand.Rand, name string) *corev1.Pod {
	p := pod(name)
	for range 1 + r.IntN(2) {
		requests("cpu", pick(r, "0", "100m", "1"), "memory", pick(r, "0", "64Mi", "1Gi"))(p)
	}
	c := &p.Spec.Containers[0]
	switch r.IntN(8) {
	case 0:
		c.Resources.Requests["example.com/gpu"] = resource.MustParse(pick(r, "0", "1", "2"))
	case 1:
		c.Resources.Requests[corev1.ResourceEphemeralStorage] = resource.MustParse("512Mi")
	case 2:
		c.Resources.Requests = nil
	case 3:
		c.Resources.Requests["example.com/only-wanted"] = resource.MustParse("1")
	}
	for range r.IntN(3) {
		c.Ports = append(c.Ports, corev1.ContainerPort{HostPort: pick[int32](r, 0, 80, 443), HostIP: pick(r, "", "127.0.0.1", "10.0.0.1"), Protocol: pick(r, "", corev1.ProtocolTCP, corev1.ProtocolUDP)})
	}
	for range r.IntN(3) {
		p.Spec.Tolerations = append(p.Spec.Tolerations, corev1.Toleration{
			Key: pick(r, "", "dedicated", "spot", corev1.TaintNodeUnschedulable), Operator: pick(r, "", corev1.TolerationOpExists), Value: pick(r, "", "x"),
			Effect: pick(r, "", corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule),
		})
	}
	if r.IntN(4) == 0 {
		p.Spec.NodeSelector = map[string]string{"zone": pick(r, "a", "b", "z")}
	}
	if r.IntN(2) == 0 {
		a := &corev1.NodeAffinity{}
		p.Spec.Affinity = &corev1.Affinity{NodeAffinity: a}
		if r.IntN(2) == 0 {
			a.RequiredDuringSchedulingIgnoredDuringExecution = &corev1.NodeSelector{}
			for range r.IntN(3) {
				terms := &a.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
				*terms = append(*terms, randomTerm(r))
			}
		}
		for range r.IntN(3) {
			a.PreferredDuringSchedulingIgnoredDuringExecution = append(a.PreferredDuringSchedulingIgnoredDuringExecution, corev1.PreferredSchedulingTerm{Weight: 1 + r.Int32N(100), Preference: randomTerm(r)})
		}
	}
	if r.IntN(10) == 0 {
		p.Spec.NodeName = fmt.Sprint("host-", r.IntN(12))
	}
	return p
}

// Every plugin passes the suite.
func TestPlugins(t *testing.T) {
	for i, p := range pods.Default() {
		name := fmt.Sprint(i)
		if p.Filter != nil {
			name += "-" + p.Filter.Name()
		}
		if p.Score != nil {
			name += "-" + p.Score.Name()
		}
		t.Run(name, func(t *testing.T) {
			schedulingtest.Run(t, schedulingtest.Subject[*corev1.Pod, corev1.Node]{
				New: func() pods.Plugin { return pods.Default()[i] }, Host: randomNode, Item: randomPod, Runs: 15,
			})
		})
	}
}

// engine returns an engine with nodes, and pods on them by node name.
func engine(t *testing.T, nodes []*corev1.Node, on map[string][]*corev1.Pod) *pods.Engine {
	t.Helper()
	e, err := pods.NewEngine()
	require.NoError(t, err)
	for _, n := range nodes {
		e.SetHost(n.Name, n)
	}
	for name, placed := range on {
		for _, p := range placed {
			e.Place(p, name, false)
		}
	}
	return e
}

func selecting(key string, op corev1.NodeSelectorOperator, values ...string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		req := corev1.NodeSelectorRequirement{Key: key, Operator: op, Values: values}
		term := corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{req}}
		if key == "metadata.name" {
			term = corev1.NodeSelectorTerm{MatchFields: []corev1.NodeSelectorRequirement{req}}
		}
		p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
			NodeSelectorTerms: []corev1.NodeSelectorTerm{term},
		}}}
	}
}

func hostPort(port int32, ip string, protocol corev1.Protocol) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Ports: []corev1.ContainerPort{{HostPort: port, HostIP: ip, Protocol: protocol}}})
	}
}

func TestMessages(t *testing.T) {
	three := []*corev1.Node{node("n1"), node("n2"), node("n3")}
	cordon := func(n *corev1.Node) { n.Spec.Unschedulable = true }
	for name, tc := range map[string]struct {
		nodes []*corev1.Node
		on    map[string][]*corev1.Pod
		pod   *corev1.Pod
		want  string
	}{
		"no nodes": {nil, nil, pod("x"), "no nodes available to schedule pods"},
		"cpu":      {three, nil, pod("x", requests("cpu", "5")), "0/3 nodes are available: 3 Insufficient cpu."},
		"several on one node": {
			three, map[string][]*corev1.Pod{"n1": {pod("a", requests("memory", "8Gi"))}},
			pod("x", requests("cpu", "5", "memory", "1Gi", "example.com/gpu", "1", "ephemeral-storage", "1")),
			"0/3 nodes are available: 1 Insufficient memory, 3 Insufficient cpu, 3 Insufficient ephemeral-storage, 3 Insufficient example.com/gpu.",
		},
		"pods": {
			[]*corev1.Node{node("n1", offers("pods", "1"))}, map[string][]*corev1.Pod{"n1": {pod("a")}},
			pod("x"), "0/1 nodes are available: 1 Too many pods.",
		},
		"taints": {
			[]*corev1.Node{node("n1", tainted("a", "b", corev1.TaintEffectNoSchedule)), node("n2", tainted("c", "", corev1.TaintEffectNoExecute)), node("n3", offers("pods", "9"))},
			nil, pod("x", requests("cpu", "1")), "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint(s).",
		},
		"cordoned":  {[]*corev1.Node{node("n1", cordon)}, nil, pod("x"), "0/1 nodes are available: 1 node(s) were unschedulable."},
		"selector":  {three, nil, pod("x", func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"disk": "ssd"} }), "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector."},
		"affinity":  {three, nil, pod("x", selecting("zone", corev1.NodeSelectorOpExists)), "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector."},
		"node name": {three, nil, pod("x", func(p *corev1.Pod) { p.Spec.NodeName = "n4" }), "0/3 nodes are available: 3 node(s) didn't match the requested node name."},
		"a daemon's pod": {
			[]*corev1.Node{node("n1", cordon), node("n2"), node("n3")}, nil, pod("x", requests("cpu", "9"), selecting("metadata.name", corev1.NodeSelectorOpIn, "n2")),
			"0/3 nodes are available: 1 Insufficient cpu, 2 node(s) didn't satisfy plugin(s) [NodeAffinity].",
		},
		"ports": {
			[]*corev1.Node{node("n1")}, map[string][]*corev1.Pod{"n1": {pod("a", hostPort(80, "", ""))}},
			pod("x", hostPort(80, "127.0.0.1", "TCP")), "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports.",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := engine(t, tc.nodes, tc.on).Schedule(t.Context(), tc.pod)
			require.Error(t, err)
			require.Equal(t, tc.want, pods.Message(err))
		})
	}
	require.Equal(t, "filter x: no", pods.Message(fmt.Errorf("filter x: no")))
}

func TestPorts(t *testing.T) {
	sidecar := corev1.ContainerRestartPolicyAlways
	for name, tc := range map[string]struct {
		there, wanted func(*corev1.Pod)
		fits          bool
	}{
		"same":                {hostPort(80, "", ""), hostPort(80, "0.0.0.0", "TCP"), false},
		"other port":          {hostPort(80, "", ""), hostPort(81, "", ""), true},
		"other protocol":      {hostPort(53, "", "TCP"), hostPort(53, "", "UDP"), true},
		"other address":       {hostPort(80, "10.0.0.1", ""), hostPort(80, "10.0.0.2", ""), true},
		"same address":        {hostPort(80, "10.0.0.1", ""), hostPort(80, "10.0.0.1", ""), false},
		"all after one":       {hostPort(80, "10.0.0.1", ""), hostPort(80, "", ""), false},
		"one after all":       {hostPort(80, "", ""), hostPort(80, "10.0.0.1", ""), false},
		"none":                {hostPort(80, "", ""), hostPort(0, "", ""), true},
		"a sidecar's":         {hostPort(80, "", ""), inInit(hostPort(80, "", ""), &sidecar), false},
		"an init container's": {hostPort(80, "", ""), inInit(hostPort(80, "", ""), nil), true},
	} {
		t.Run(name, func(t *testing.T) {
			e := engine(t, []*corev1.Node{node("n1")}, map[string][]*corev1.Pod{"n1": {pod("a", tc.there)}})
			_, err := e.Schedule(t.Context(), pod("x", tc.wanted))
			require.Equal(t, tc.fits, err == nil, "%v", err)
		})
	}
}

// inInit moves a pod's containers to the init containers.
func inInit(make func(*corev1.Pod), restart *corev1.ContainerRestartPolicy) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		make(p)
		p.Spec.InitContainers, p.Spec.Containers = p.Spec.Containers, nil
		for i := range p.Spec.InitContainers {
			p.Spec.InitContainers[i].RestartPolicy = restart
		}
	}
}

// Scores are those of kube-scheduler, computed by hand.
func TestScores(t *testing.T) {
	gi := func(cpu, memory string, more ...func(*corev1.Node)) *corev1.Node {
		n := node("n1", offers("cpu", cpu, "memory", memory, "pods", "9"))
		for _, m := range more {
			m(n)
		}
		return n
	}
	prefer := func(weight int32, zone string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			selecting("zone", corev1.NodeSelectorOpIn, zone)(p)
			a := p.Spec.Affinity.NodeAffinity
			a.PreferredDuringSchedulingIgnoredDuringExecution = []corev1.PreferredSchedulingTerm{{Weight: weight, Preference: a.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms[0]}}
			a.RequiredDuringSchedulingIgnoredDuringExecution = nil
		}
	}
	const noTaints = 3 * 100
	for name, tc := range map[string]struct {
		node *corev1.Node
		on   *corev1.Pod
		pod  *corev1.Pod
		want int64
	}{
		// least: cpu (4000-3000)/4000 = 25, memory (10000-5000)/10000 = 50: 37;
		// balance: |0.75-0.5|/2 = 0.125: 87 with, 100 without: 50+(50-13)/2 = 68.
		"requests": {gi("4", "10000"), nil, pod("x", requests("cpu", "3", "memory", "5000")), noTaints + 37 + 68},
		// The same, in two pods; balance before: |0.25-0.5|/2: 87 and 87: 50+50/2 = 75.
		"two pods": {gi("4", "10000"), pod("a", requests("cpu", "1", "memory", "5000")), pod("x", requests("cpu", "2", "memory", "0")), noTaints + 37 + 75},
		// Nothing requested counts as 100m and 200Mi; no balance.
		"nothing requested": {gi("1", "1000Mi"), nil, pod("x", requests()), noTaints + (90+80)/2},
		"no containers":     {gi("1", "1000Mi"), nil, pod("x"), noTaints + 100},
		"no memory at all":  {gi("4", "0"), nil, pod("x", requests("cpu", "1")), noTaints + 75 + 75},
		"nothing offered":   {gi("0", "0"), nil, pod("x"), noTaints},
		"a taint it minds":  {gi("1", "1000Mi", tainted("a", "", corev1.TaintEffectPreferNoSchedule)), nil, pod("x"), 100},
		"preferred":         {gi("1", "1000Mi", labelled("zone", "a")), nil, pod("x", prefer(5, "a")), noTaints + 2*100 + 100},
		"not preferred":     {gi("1", "1000Mi", labelled("zone", "b")), nil, pod("x", prefer(5, "a")), noTaints + 100},
	} {
		t.Run(name, func(t *testing.T) {
			e := engine(t, []*corev1.Node{tc.node}, nil)
			if tc.on != nil {
				e.Place(tc.on, "n1", false)
			}
			got, err := e.Rank(t.Context(), tc.pod)
			require.NoError(t, err)
			require.Equal(t, []scheduling.Ranked{{Host: "n1", Score: tc.want}}, got)
		})
	}
}
