package core

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"github.com/bedplate/bedplate/apimachinery"
)

// Nodes declares v1 Node, stored under Kubernetes' historical name.
func Nodes() apimachinery.Resource {
	return apimachinery.Resource{
		Name:   schema.GroupResource{Resource: "nodes"},
		Prefix: "minions",
		New:    func() apimachinery.Object { return &corev1.Node{} },
		Views: []apimachinery.View{{
			GroupVersionKind: corev1.SchemeGroupVersion.WithKind("Node"),
			Plural:           "nodes", Short: []string{"no"},
			Columns: nodeColumns(),
			Fields:  []apimachinery.Field{{Name: "spec.unschedulable", Default: "false"}},
		}},
		Default: func(o apimachinery.Object) { defaultNode(o.(*corev1.Node)) },
		Prepare: func(_ context.Context, new, old apimachinery.Object) {
			prepareNode(new.(*corev1.Node), old)
		},
		Validate: func(_ context.Context, new, old apimachinery.Object) field.ErrorList {
			errs := validateNode(new.(*corev1.Node))
			if old != nil {
				errs = append(errs, validateNodeUpdate(new.(*corev1.Node), old.(*corev1.Node))...)
			}
			return errs
		},
		Warnings: func(new, _ apimachinery.Object) []string { return nodeWarnings(new.(*corev1.Node)) },
		Subs: map[string]apimachinery.Subresource{
			"status": {
				Verbs: []string{apimachinery.VerbGet, apimachinery.VerbPatch, apimachinery.VerbUpdate},
				Strategy: &apimachinery.Strategy{
					Owned: []string{"status"},
					// Unlike other kinds, a node's status writer may set labels and annotations: kubelets do.
					Prepare: func(_ context.Context, new, old apimachinery.Object) {
						n, o := new.(*corev1.Node), old.(*corev1.Node)
						if n.Spec = o.Spec; o.Status.Config == nil {
							n.Status.Config = nil
						}
					},
					Validate: func(_ context.Context, new, old apimachinery.Object) field.ErrorList {
						return validateNodeUpdate(new.(*corev1.Node), old.(*corev1.Node))
					},
				},
			},
			"proxy": {Kind: corev1.SchemeGroupVersion.WithKind("NodeProxyOptions"), Verbs: proxyVerbs, Connect: "nodes/proxy"},
		},
	}
}

// proxyVerbs are those of a way to somebody else's HTTP server.
var proxyVerbs = []string{apimachinery.VerbGet, apimachinery.VerbCreate, apimachinery.VerbUpdate, apimachinery.VerbPatch, apimachinery.VerbDelete}

// defaultNode lets allocatable be capacity where there is none, and the list of pod ranges follow the older single one.
func defaultNode(n *corev1.Node) {
	roundResources(n.Status.Capacity)
	roundResources(n.Status.Allocatable)
	if n.Status.Allocatable == nil && n.Status.Capacity != nil {
		n.Status.Allocatable = n.Status.Capacity.DeepCopy()
	}
	switch s := &n.Spec; {
	case s.PodCIDR != "" && (len(s.PodCIDRs) == 0 || s.PodCIDRs[0] != s.PodCIDR):
		s.PodCIDRs = []string{s.PodCIDR}
	case len(s.PodCIDRs) > 0:
		s.PodCIDR = s.PodCIDRs[0]
	}
}

// prepareNode keeps the status out of updates, and the retired dynamic configuration out of nodes that have none.
func prepareNode(new *corev1.Node, old apimachinery.Object) {
	blank(&new.Spec, "PodPreemptionPolicy")
	if old == nil {
		new.Spec.ConfigSource, new.Status.Config = nil, nil
		return
	}
	o := old.(*corev1.Node)
	if new.Status = o.Status; o.Spec.ConfigSource == nil {
		new.Spec.ConfigSource = nil
	}
}

func nodeWarnings(n *corev1.Node) []string {
	var out []string
	if n.Spec.ConfigSource != nil {
		out = append(out, "spec.configSource: the feature is removed")
	}
	if n.Spec.DoNotUseExternalID != "" {
		out = append(out, "spec.externalID: this field is deprecated, and is unused by Kubernetes")
	}
	for i, cidr := range n.Spec.PodCIDRs {
		if _, _, err := netutils.ParseCIDRSloppy(cidr); err == nil {
			out = append(out, utilvalidation.GetWarningsForCIDR(spec.Child("podCIDRs").Index(i), cidr)...)
		}
	}
	return out
}

func validateNode(n *corev1.Node) field.ErrorList {
	meta := field.NewPath("metadata")
	errs := append(ValidateFinalizers(n), validateNodeAnnotations(n.Annotations, meta.Child("annotations"))...)
	errs = append(errs, validateTaints(n.Spec.Taints, meta.Child("taints"))...)
	errs = append(errs, validateNodeResources(n)...)
	if swap := n.Status.NodeInfo.Swap; swap != nil && swap.Capacity != nil && *swap.Capacity <= 0 {
		errs = append(errs, field.Invalid(meta.Child("nodeSwapStatus", "capacity"), *swap.Capacity, "must be greater than zero"))
	}
	errs = append(errs, validateDeclaredFeatures(n.Status.DeclaredFeatures, field.NewPath("status", "declaredFeatures"))...)
	return append(errs, validatePodCIDRs(n.Spec.PodCIDRs, spec.Child("podCIDRs"))...)
}

func validatePodCIDRs(cidrs []string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	families, unreadable := map[bool]bool{}, false
	for i, cidr := range cidrs {
		errs = append(errs, utilvalidation.IsValidCIDRForLegacyField(path.Index(i), cidr, true, nil)...)
		_, parsed, err := netutils.ParseCIDRSloppy(cidr)
		if err != nil {
			unreadable = true
			continue
		}
		families[netutils.IsIPv6CIDR(parsed)] = true
	}
	if len(cidrs) > 1 && unreadable {
		errs = append(errs, field.InternalError(path, errors.New("the families of the CIDRs can't be told")))
	}
	if len(cidrs) > 1 && (unreadable || len(families) < 2 || len(cidrs) > 2) {
		errs = append(errs, field.Invalid(path, cidrs, "may specify no more than one CIDR for each IP family"))
	}
	return errs
}

// Annotations that once were API.
const (
	taintsAnnotation = "scheduler.alpha.kubernetes.io/taints"
	avoidAnnotation  = corev1.PreferAvoidPodsAnnotationKey
)

func validateNodeAnnotations(annotations map[string]string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if text := annotations[taintsAnnotation]; text != "" {
		var taints []corev1.Taint
		if err := json.Unmarshal([]byte(text), &taints); err != nil {
			errs = append(errs, field.Invalid(path, taintsAnnotation, err.Error()))
		} else {
			errs = append(errs, validateTaints(taints, path.Child(taintsAnnotation))...)
		}
	}
	if text := annotations[avoidAnnotation]; text != "" {
		var avoid corev1.AvoidPods
		if err := json.Unmarshal([]byte(text), &avoid); err != nil {
			return append(errs, field.Invalid(path.Child("AvoidPods"), avoidAnnotation, err.Error()))
		}
		for i, p := range avoid.PreferAvoidPods {
			at := path.Child(avoidAnnotation).Index(i).Child("PodSignature")
			if c := p.PodSignature.PodController; c == nil {
				errs = append(errs, field.Required(at, ""))
			} else if c.Controller == nil || !*c.Controller {
				errs = append(errs, field.Invalid(at.Child("PodController", "Controller"), false, "must point to a controller"))
			}
		}
	}
	return errs
}

// Taints stand in the spec, and are reported as of the metadata.
func validateTaints(taints []corev1.Taint, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	type id struct {
		key    string
		effect corev1.TaintEffect
	}
	seen := map[id]bool{}
	for i, t := range taints {
		at := path.Index(i)
		errs = append(errs, metav1validation.ValidateLabelName(t.Key, at.Child("key"))...)
		errs = append(errs, invalid(at.Child("value"), t.Value, joined(utilvalidation.IsValidLabelValue(t.Value))...)...)
		errs = append(errs, validateTaintEffect(t.Effect, at.Child("effect"))...)
		if seen[id{t.Key, t.Effect}] {
			dup := field.Duplicate(at, t)
			dup.Detail = "taints must be unique by key and effect pair"
			errs = append(errs, dup)
		}
		seen[id{t.Key, t.Effect}] = true
	}
	return errs
}

func validateNodeResources(n *corev1.Node) field.ErrorList {
	var errs field.ErrorList
	judge := func(list corev1.ResourceList, in string) {
		for _, name := range sortedKeys(list) {
			errs = append(errs, validateAmount(name, list[name], field.NewPath("status", in, string(name)))...)
		}
	}
	judge(n.Status.Capacity, "capacity")
	judge(n.Status.Allocatable, "allocatable")
	return errs
}

var featureForm = regexp.MustCompile(`^[A-Z][a-zA-Z0-9]*(\/[a-zA-Z][a-zA-Z0-9]*)*$`)

// validateDeclaredFeatures judges what a node says it can do (KEP-5328): sorted, each once.
func validateDeclaredFeatures(features []string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, f := range features {
		at := path.Index(i)
		if len(f) > utilvalidation.DNS1123SubdomainMaxLength || !featureForm.MatchString(f) {
			errs = append(errs, field.Invalid(at, f, "must be words in camel case, the first of them capital, separated by '/'"))
		}
		switch {
		case i > 0 && f == features[i-1]:
			errs = append(errs, field.Duplicate(at, f))
		case i > 0 && f < features[i-1]:
			errs = append(errs, field.Invalid(at, f, "list must be sorted alphabetically"))
		}
	}
	return errs
}

// validateNodeUpdate judges a node, through whichever door it is written, against what it was.
func validateNodeUpdate(new, old *corev1.Node) field.ErrorList {
	meta, status := field.NewPath("metadata"), field.NewPath("status")
	errs := append(ValidateFinalizers(new), validateNodeAnnotations(new.Annotations, meta.Child("annotations"))...)
	errs = append(errs, validateNodeResources(new)...)
	errs = append(errs, validateDeclaredFeatures(new.Status.DeclaredFeatures, status.Child("declaredFeatures"))...)
	seen := map[corev1.NodeAddress]bool{}
	for i, a := range new.Status.Addresses {
		if seen[a] {
			errs = append(errs, field.Duplicate(status.Child("addresses").Index(i), a))
		}
		seen[a] = true
	}
	if len(old.Spec.PodCIDRs) > 0 && !slices.Equal(new.Spec.PodCIDRs, old.Spec.PodCIDRs) {
		errs = append(errs, field.Forbidden(spec.Child("podCIDRs"), "node updates may not change podCIDR except from \"\" to valid"))
	}
	if old.Spec.ProviderID != "" && new.Spec.ProviderID != old.Spec.ProviderID {
		errs = append(errs, field.Forbidden(spec.Child("providerID"), "node updates may not change providerID except from \"\" to valid"))
	}
	if new.Spec.DoNotUseExternalID != old.Spec.DoNotUseExternalID {
		errs = append(errs, field.Forbidden(spec.Child("externalID"), "may not be updated"))
	}
	return append(errs, validateTaints(new.Spec.Taints, meta.Child("taints"))...)
}

func nodeColumns() []apimachinery.Column {
	type node = *corev1.Node
	return []apimachinery.Column{
		apimachinery.NameColumn(),
		apimachinery.ColumnOf("Status", "string", func(n node) any { return nodeStatus(n) }),
		apimachinery.ColumnOf("Roles", "string", func(n node) any { return nodeRoles(n) }),
		apimachinery.AgeColumn(),
		apimachinery.ColumnOf("Version", "string", func(n node) any { return n.Status.NodeInfo.KubeletVersion }),
		wide("Internal-IP", "string", func(n node) any { return nodeAddress(n, corev1.NodeInternalIP) }),
		wide("External-IP", "string", func(n node) any { return nodeAddress(n, corev1.NodeExternalIP) }),
		wide("OS-Image", "string", func(n node) any { return or(n.Status.NodeInfo.OSImage, "<unknown>") }),
		wide("Kernel-Version", "string", func(n node) any { return kernel(n) }),
		wide("Container-Runtime", "string", func(n node) any { return or(n.Status.NodeInfo.ContainerRuntimeVersion, "<unknown>") }),
	}
}

func nodeStatus(n *corev1.Node) string {
	status := "Unknown"
	for _, c := range n.Status.Conditions {
		if c.Type != corev1.NodeReady {
			continue
		}
		status = "NotReady"
		if c.Status == corev1.ConditionTrue {
			status = "Ready"
		}
	}
	if n.Spec.Unschedulable {
		status += ",SchedulingDisabled"
	}
	return status
}

func kernel(n *corev1.Node) string {
	version := or(n.Status.NodeInfo.KernelVersion, "<unknown>")
	if arch := n.Status.NodeInfo.Architecture; arch != "" {
		version += " (" + arch + ")"
	}
	return version
}

func nodeRoles(n *corev1.Node) string {
	const prefix = "node-role.kubernetes.io/"
	var roles []string
	for key, value := range n.Labels {
		if role, ok := strings.CutPrefix(key, prefix); ok && role != "" {
			roles = append(roles, role)
		} else if key == "kubernetes.io/role" && value != "" {
			roles = append(roles, value)
		}
	}
	slices.Sort(roles)
	return or(strings.Join(slices.Compact(roles), ","), "<none>")
}

func nodeAddress(n *corev1.Node, t corev1.NodeAddressType) string {
	for _, a := range n.Status.Addresses {
		if a.Type == t {
			return a.Address
		}
	}
	return "<none>"
}

// AllocationGuard is the guard key that every write which puts a pod on a node takes part in.
func AllocationGuard(node string) string { return fmt.Sprintf("allocations/%s", node) }
