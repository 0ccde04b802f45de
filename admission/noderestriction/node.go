package noderestriction

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
)

// ownNode judges what a node writes into its own Node, through whichever path.
func (w *write) ownNode() error {
	if err := w.ownName(); err != nil {
		return err
	}
	n, ok := w.Object.(*corev1.Node)
	switch {
	case w.Operation == "CREATE" && ok && w.Sub == "":
		return w.register(n)
	case w.Operation == "UPDATE" && ok:
		return w.update(n)
	}
	return fmt.Errorf("node %q may not %s nodes", w.node, w.Operation)
}

// register allows what a node says of itself when it first comes: taints too.
func (w *write) register(n *corev1.Node) error {
	switch {
	case len(n.OwnerReferences) > 0:
		return fmt.Errorf("node %q is not allowed to set ownerReferences", w.node)
	case len(n.Finalizers) > 0:
		return fmt.Errorf("node %q is not allowed to set finalizers", w.node)
	case n.Spec.ConfigSource != nil: //nolint:staticcheck // refused because it is deprecated
		return fmt.Errorf("node %q is not allowed to set its configSource", w.node)
	}
	if bad := forbiddenLabels(n.Labels, nil); len(bad) > 0 {
		return fmt.Errorf("node %q is not allowed to set the following labels: %s", w.node, strings.Join(bad, ", "))
	}
	return nil
}

// update allows annotations, the labels of nodes, a provider id where there was none, and the status.
func (w *write) update(n *corev1.Node) error {
	o, ok := w.Old.(*corev1.Node)
	if !ok {
		return errors.New("the node as it was is not known")
	}
	switch {
	case !equality.Semantic.DeepEqual(n.OwnerReferences, o.OwnerReferences):
		return fmt.Errorf("node %q is not allowed to modify ownerReferences", w.node)
	case !equality.Semantic.DeepEqual(n.Spec.Taints, o.Spec.Taints):
		return fmt.Errorf("node %q is not allowed to modify taints", w.node)
	case !sameMeta(n, o):
		return fmt.Errorf("node %q is not allowed to modify its name, uid or finalizers", w.node)
	case !sameSpec(n.Spec, o.Spec):
		return fmt.Errorf("node %q is not allowed to modify its spec, but for an empty providerID", w.node)
	}
	if bad := forbiddenLabels(n.Labels, o.Labels); len(bad) > 0 {
		return fmt.Errorf("is not allowed to modify labels: %s", strings.Join(bad, ", "))
	}
	return nil
}

func sameSpec(n, o corev1.NodeSpec) bool {
	if o.ProviderID == "" {
		o.ProviderID = n.ProviderID
	}
	return equality.Semantic.DeepEqual(n, o)
}

// forbiddenLabels returns the labels that were set, changed or taken away and aren't a node's, sorted.
func forbiddenLabels(new, old map[string]string) []string {
	keys := map[string]bool{}
	for _, m := range []map[string]string{new, old} {
		for k := range m {
			keys[k] = true
		}
	}
	var bad []string
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		n, inNew := new[k]
		o, inOld := old[k]
		if (inNew != inOld || n != o) && !mayLabel(k) {
			bad = append(bad, k)
		}
	}
	return bad
}

// mayLabel says whether a node may set a label of itself: what others select nodes by for isolation
// (node-restriction.kubernetes.io/…) and Kubernetes' own labels are not its to choose, but for those that
// describe it.
func mayLabel(key string) bool {
	domain, _, ok := strings.Cut(key, "/")
	if !ok {
		return true
	}
	in := func(parent string) bool { return domain == parent || strings.HasSuffix(domain, "."+parent) }
	if in("node-restriction.kubernetes.io") {
		return false
	}
	if !in("kubernetes.io") && !in("k8s.io") {
		return true
	}
	switch key {
	case corev1.LabelHostname, corev1.LabelTopologyZone, corev1.LabelTopologyRegion,
		corev1.LabelFailureDomainBetaZone, corev1.LabelFailureDomainBetaRegion,
		corev1.LabelInstanceType, corev1.LabelInstanceTypeStable, corev1.LabelOSStable, corev1.LabelArchStable,
		"beta.kubernetes.io/os", "beta.kubernetes.io/arch":
		return true
	}
	return in("kubelet.kubernetes.io") || in("node.kubernetes.io")
}
