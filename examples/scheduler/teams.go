package main

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/bedplate/bedplate/scheduling"
	"github.com/bedplate/bedplate/scheduling/pods"
)

// plugins are those of kube-scheduler, and one of our own.
func plugins() []pods.Plugin {
	teams := scheduling.PerHost("Teams", judge, class)
	teams.Weight = 10 // to be together counts more than to have room
	return append(pods.Default(), teams)
}

// judge says what one node is to one pod, by the pods that are there: another team's is no place, and one's own is
// better than an empty one. Pods of no team go anywhere.
func judge(pod *corev1.Pod, _ *corev1.Node, there []*corev1.Pod) scheduling.Verdict {
	team := pod.Labels["team"]
	if team == "" {
		return scheduling.Verdict{}
	}
	if slices.ContainsFunc(there, func(p *corev1.Pod) bool { return p.Labels["team"] != "" && p.Labels["team"] != team }) {
		return scheduling.Verdict{No: "node(s) belonged to another team"}
	}
	if slices.ContainsFunc(there, func(p *corev1.Pod) bool { return p.Labels["team"] == team }) {
		return scheduling.Verdict{Score: scheduling.MaxScore}
	}
	return scheduling.Verdict{}
}

// class is all of a pod that judge looks at: the scheduler then knows which pods are alike, and ranks the nodes
// once for all of them.
func class(key []byte, pod *corev1.Pod) []byte { return append(key, pod.Labels["team"]...) }
