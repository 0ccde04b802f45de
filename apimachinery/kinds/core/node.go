package core

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

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
			if old != nil {
				new.(*corev1.Node).Status = old.(*corev1.Node).Status
			}
		},
		Validate: func(_ context.Context, new, old apimachinery.Object) field.ErrorList {
			n := new.(*corev1.Node)
			errs := append(validateNodeSpec(n), validateNodeStatus(n)...)
			if old != nil {
				errs = append(errs, validateNodeUpdate(n, old.(*corev1.Node))...)
			}
			return errs
		},
		Subs: map[string]apimachinery.Subresource{
			"status": {
				Verbs: []string{apimachinery.VerbGet, apimachinery.VerbPatch, apimachinery.VerbUpdate},
				Strategy: &apimachinery.Strategy{
					Owned: []string{"status"},
					// Unlike other kinds, a node's status writer may set labels and annotations: kubelets do.
					Prepare: func(_ context.Context, new, old apimachinery.Object) {
						new.(*corev1.Node).Spec = old.(*corev1.Node).Spec
					},
					Validate: func(_ context.Context, new, _ apimachinery.Object) field.ErrorList {
						return validateNodeStatus(new.(*corev1.Node))
					},
				},
			},
			"proxy": {Verbs: []string{apimachinery.VerbGet, apimachinery.VerbCreate, apimachinery.VerbUpdate, apimachinery.VerbPatch, apimachinery.VerbDelete}, Connect: "nodes/proxy"},
		},
	}
}

// defaultNode lets allocatable follow capacity, as Kubernetes does.
func defaultNode(n *corev1.Node) {
	for name, quantity := range n.Status.Capacity {
		if n.Status.Allocatable == nil {
			n.Status.Allocatable = corev1.ResourceList{}
		}
		if _, ok := n.Status.Allocatable[name]; !ok {
			n.Status.Allocatable[name] = quantity.DeepCopy()
		}
	}
	if n.Spec.PodCIDR != "" && len(n.Spec.PodCIDRs) == 0 {
		n.Spec.PodCIDRs = []string{n.Spec.PodCIDR}
	}
	if n.Spec.PodCIDR == "" && len(n.Spec.PodCIDRs) > 0 {
		n.Spec.PodCIDR = n.Spec.PodCIDRs[0]
	}
}

func validateNodeSpec(n *corev1.Node) field.ErrorList {
	errs := validateTaints(n.Spec.Taints, spec.Child("taints"))
	seen := map[bool]bool{}
	for i, cidr := range n.Spec.PodCIDRs {
		path := spec.Child("podCIDRs").Index(i)
		prefix, err := netip.ParsePrefix(cidr)
		if err != nil {
			errs = append(errs, field.Invalid(path, cidr, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"))
			continue
		}
		if seen[prefix.Addr().Is4()] {
			errs = append(errs, field.Invalid(spec.Child("podCIDRs"), n.Spec.PodCIDRs, "may specify no more than one CIDR for each IP family"))
		}
		seen[prefix.Addr().Is4()] = true
	}
	if len(n.Spec.PodCIDRs) > 0 && n.Spec.PodCIDR != n.Spec.PodCIDRs[0] {
		errs = append(errs, field.Invalid(spec.Child("podCIDRs").Index(0), n.Spec.PodCIDRs[0], "must match `podCIDR`"))
	}
	return errs
}

func validateTaints(taints []corev1.Taint, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	type id struct {
		key    string
		effect corev1.TaintEffect
	}
	seen := map[id]bool{}
	for i, t := range taints {
		at := path.Index(i)
		errs = append(errs, validateQualifiedName(t.Key, at.Child("key"))...)
		errs = append(errs, validateLabelValue(t.Value, at.Child("value"))...)
		errs = append(errs, validateTaintEffect(t.Effect, false, at.Child("effect"))...)
		if seen[id{t.Key, t.Effect}] {
			dup := field.Duplicate(at, t)
			dup.Detail = "taints must be unique by key and effect pair"
			errs = append(errs, dup)
		}
		seen[id{t.Key, t.Effect}] = true
	}
	return errs
}

func validateNodeStatus(n *corev1.Node) field.ErrorList {
	path := field.NewPath("status")
	errs := append(validateResourceList(n.Status.Capacity, path.Child("capacity")),
		validateResourceList(n.Status.Allocatable, path.Child("allocatable"))...)
	seen := map[corev1.NodeAddress]bool{}
	for i, a := range n.Status.Addresses {
		if seen[a] {
			errs = append(errs, field.Duplicate(path.Child("addresses").Index(i), a))
		}
		seen[a] = true
	}
	return errs
}

func validateNodeUpdate(new, old *corev1.Node) field.ErrorList {
	var errs field.ErrorList
	if len(old.Spec.PodCIDRs) > 0 && !slices.Equal(new.Spec.PodCIDRs, old.Spec.PodCIDRs) {
		errs = append(errs, field.Forbidden(spec.Child("podCIDRs"), "node updates may not change podCIDR except from \"\" to valid"))
	}
	if old.Spec.ProviderID != "" && new.Spec.ProviderID != old.Spec.ProviderID {
		errs = append(errs, field.Forbidden(spec.Child("providerID"), "node updates may not change providerID except from \"\" to valid"))
	}
	return errs
}

func nodeColumns() []apimachinery.Column {
	type node = *corev1.Node
	return []apimachinery.Column{
		nameColumn[node](),
		column("Status", "string", func(n node) any { return nodeStatus(n) }),
		column("Roles", "string", func(n node) any { return nodeRoles(n) }),
		ageColumn[node](),
		column("Version", "string", func(n node) any { return n.Status.NodeInfo.KubeletVersion }),
		wide("Internal-IP", "string", func(n node) any { return nodeAddress(n, corev1.NodeInternalIP) }),
		wide("External-IP", "string", func(n node) any { return nodeAddress(n, corev1.NodeExternalIP) }),
		wide("OS-Image", "string", func(n node) any { return or(n.Status.NodeInfo.OSImage, "<unknown>") }),
		wide("Kernel-Version", "string", func(n node) any { return or(n.Status.NodeInfo.KernelVersion, "<unknown>") }),
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
