package core

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
)

// Pods declares v1 Pod. Its log, exec, attach, port-forward and proxy are connectors of those names ("pods/log"), and
// so is its eviction until an assembler has apimachinery/server/eviction serve it. A write that puts a pod on a node
// takes part in that node's [AllocationGuard].
func Pods() apimachinery.Resource {
	connect := func(name, kind string, verbs ...string) apimachinery.Subresource {
		return apimachinery.Subresource{Kind: corev1.SchemeGroupVersion.WithKind(kind), Verbs: verbs, Connect: "pods/" + name}
	}
	both := []string{apimachinery.VerbCreate, apimachinery.VerbGet}
	return apimachinery.Resource{
		Name:       schema.GroupResource{Resource: "pods"},
		Namespaced: true,
		New:        func() apimachinery.Object { return &corev1.Pod{} },
		Views: []apimachinery.View{{
			GroupVersionKind: corev1.SchemeGroupVersion.WithKind("Pod"),
			Plural:           "pods", Short: []string{"po"}, Category: []string{"all"},
			Columns: podColumns(),
			Fields: []apimachinery.Field{
				{Name: "spec.nodeName"}, {Name: "spec.restartPolicy"}, {Name: "spec.schedulerName"},
				{Name: "spec.serviceAccountName"}, {Name: "spec.hostNetwork", Default: "false"},
				{Name: "status.phase"}, {Name: "status.podIP"}, {Name: "status.nominatedNodeName"},
			},
		}},
		Default:  func(o apimachinery.Object) { DefaultPod(o.(*corev1.Pod)) },
		Prepare:  func(_ context.Context, new, old apimachinery.Object) { preparePod(new.(*corev1.Pod), old) },
		Validate: validatePodWrite,
		Warnings: func(new, old apimachinery.Object) []string {
			if old != nil { // nobody reads them: it is kubelets and controllers that update pods
				return podAddressWarnings(new.(*corev1.Pod), old.(*corev1.Pod))
			}
			return podWarnings(new.(*corev1.Pod))
		},
		Grace:  podGrace,
		Guards: podGuards,
		Echo:   true,
		Subs: map[string]apimachinery.Subresource{
			"status": {
				Verbs: []string{apimachinery.VerbGet, apimachinery.VerbPatch, apimachinery.VerbUpdate},
				Strategy: &apimachinery.Strategy{
					Owned: []string{"status"}, Prepare: preparePodStatus, Validate: validatePodStatus,
				},
			},
			"binding":             binding(),
			"ephemeralcontainers": ephemeralContainers(),
			"resize":              resize(),
			"eviction": {
				Kind: policyv1.SchemeGroupVersion.WithKind("Eviction"), New: func() apimachinery.Object { return &policyv1.Eviction{} },
				Verbs: []string{apimachinery.VerbCreate}, Connect: "pods/eviction",
			},
			"log":         connect("log", "Pod", apimachinery.VerbGet),
			"exec":        connect("exec", "PodExecOptions", both...),
			"attach":      connect("attach", "PodAttachOptions", both...),
			"portforward": connect("portforward", "PodPortForwardOptions", both...),
			"proxy":       connect("proxy", "PodProxyOptions", proxyVerbs...),
		},
	}
}

// podGrace is what the caller asked for, else what the pod's spec says, else nothing; a pod that no node has, or that has
// ended, goes at once.
func podGrace(o apimachinery.Object, asked *int64) int64 {
	p := o.(*corev1.Pod)
	seconds := int64(0)
	if asked != nil {
		seconds = *asked
	} else if s := p.Spec.TerminationGracePeriodSeconds; s != nil {
		seconds = *s
	}
	if p.Spec.NodeName == "" || p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded {
		return 0
	}
	if seconds < 0 {
		return 1
	}
	return seconds
}

func podGuards(new, old apimachinery.Object) []string {
	p, ok := new.(*corev1.Pod)
	if !ok || p.Spec.NodeName == "" {
		return nil
	}
	if o, ok := old.(*corev1.Pod); ok && o.Spec.NodeName == p.Spec.NodeName {
		return nil
	}
	return []string{AllocationGuard(p.Spec.NodeName)}
}

func validatePodWrite(_ context.Context, new, old apimachinery.Object) field.ErrorList {
	n := new.(*corev1.Pod)
	if old != nil {
		return append(ValidatePod(n), validatePodUpdate(n, old.(*corev1.Pod))...)
	}
	return append(ValidatePod(n), validateNewPod(n)...)
}
