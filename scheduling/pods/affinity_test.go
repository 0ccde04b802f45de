package pods_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/bedplate/bedplate/scheduling"
	"github.com/bedplate/bedplate/scheduling/pods"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
)

// operators are the names by which apimachinery's label selectors, an
// implementation that isn't ours, know a node selector's operators.
var operators = map[corev1.NodeSelectorOperator]selection.Operator{
	corev1.NodeSelectorOpIn: selection.In, corev1.NodeSelectorOpNotIn: selection.NotIn,
	corev1.NodeSelectorOpExists: selection.Exists, corev1.NodeSelectorOpDoesNotExist: selection.DoesNotExist,
	corev1.NodeSelectorOpGt: selection.GreaterThan, corev1.NodeSelectorOpLt: selection.LessThan,
}

// selects is the slow and obvious way to match a term.
func selects(t *testing.T, term corev1.NodeSelectorTerm, n *corev1.Node) bool {
	if len(term.MatchExpressions)+len(term.MatchFields) == 0 {
		return false
	}
	for _, r := range term.MatchExpressions {
		req, err := labels.NewRequirement(r.Key, operators[r.Operator], r.Values)
		require.NoError(t, err)
		if !req.Matches(labels.Set(n.Labels)) {
			return false
		}
	}
	for _, r := range term.MatchFields {
		if slices.Contains(r.Values, n.Name) != (r.Operator == corev1.NodeSelectorOpIn) {
			return false
		}
	}
	return true
}

func wanted(t *testing.T, p *corev1.Pod, n *corev1.Node) bool {
	for k, v := range p.Spec.NodeSelector {
		if got, ok := n.Labels[k]; !ok || got != v {
			return false
		}
	}
	if p.Spec.Affinity == nil || p.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return true
	}
	return slices.ContainsFunc(p.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms,
		func(term corev1.NodeSelectorTerm) bool { return selects(t, term, n) })
}

// Affinity over columns selects what label selectors select one by one.
func TestAffinityAgainstSelectors(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	for range 60 {
		l := pods.NewLabels()
		e, err := pods.NewEngine(
			pods.Plugin{Columns: l, Filter: pods.Pinned{Labels: l}},
			pods.Plugin{Columns: l, Filter: pods.NodeAffinity{Labels: l}, Score: pods.PreferredAffinity{Labels: l}},
		)
		require.NoError(t, err)
		nodes := map[string]*corev1.Node{}
		for range 30 {
			name := fmt.Sprint("host-", r.IntN(12))
			nodes[name] = randomNode(r, name)
			e.SetHost(name, nodes[name])
		}
		for i := range 30 {
			p := randomPod(r, fmt.Sprint("pod-", i))
			ranked, err := e.Rank(t.Context(), p)
			require.NoError(t, err)
			got := map[string]int64{}
			for _, r := range ranked {
				got[r.Host] = r.Score
			}
			require.Equal(t, expected(t, p, nodes), got, "pod %+v", p.Spec)
		}
	}
}

// expected computes the scores of the nodes that a pod wants.
func expected(t *testing.T, p *corev1.Pod, nodes map[string]*corev1.Node) map[string]int64 {
	scores, highest := map[string]int64{}, int64(0)
	for name, n := range nodes {
		if !wanted(t, p, n) {
			continue
		}
		var score int64
		if a := p.Spec.Affinity; a != nil {
			for _, term := range a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution {
				if selects(t, term.Preference, n) {
					score += int64(term.Weight)
				}
			}
		}
		scores[name] = score
		highest = max(highest, score)
	}
	for name := range scores {
		scores[name] = scores[name] * scheduling.MaxScore / max(highest, 1)
	}
	return scores
}
