// Package nodelabels knows the labels of nodes that Kubernetes has renamed, so that the kinds which select nodes can
// warn whoever still uses the old names.
package nodelabels

// Deprecated says what to use in place of a label's key; ok is false for keys in good standing.
func Deprecated(key string) (advice string, ok bool) {
	switch key {
	case "beta.kubernetes.io/arch":
		return instead("v1.14", "kubernetes.io/arch"), true
	case "beta.kubernetes.io/os":
		return instead("v1.14", "kubernetes.io/os"), true
	case "failure-domain.beta.kubernetes.io/region":
		return instead("v1.17", "topology.kubernetes.io/region"), true
	case "failure-domain.beta.kubernetes.io/zone":
		return instead("v1.17", "topology.kubernetes.io/zone"), true
	case "beta.kubernetes.io/instance-type":
		return instead("v1.17", "node.kubernetes.io/instance-type"), true
	case "app.kubernetes.io/created-by":
		return "deprecated since v1.9", true
	case "scheduler.alpha.kubernetes.io/preferAvoidPods":
		return instead("v1.22", "taints and tolerations"), true
	case "node-role.kubernetes.io/master":
		return instead("v1.20", "node-role.kubernetes.io/control-plane"), true
	}
	return "", false
}

func instead(since, use string) string { return "deprecated since " + since + "; use " + use + " instead" }
