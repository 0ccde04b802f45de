package node

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/fields"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/rbac"
)

const userPrefix = "system:node:"

// User is the user name of a node.
func User(name string) string { return userPrefix + name }

// NameOf returns the name of the node that a user is; empty if it is none: a node is in the group system:nodes
// and named "system:node:<name>".
func NameOf(u *apimachinery.User) string {
	name, ok := strings.CutPrefix(u.Name, userPrefix)
	if !ok || !slices.Contains(u.Groups, rbac.NodesGroup) {
		return ""
	}
	return name
}

// Pods gives the pods that are bound to a node, for as long as they exist. They are only read.
type Pods interface {
	PodsOn(node string) iter.Seq[*corev1.Pod]
}

// New returns the authorizer of nodes. It says Allow or NoOpinion, with the reason; others' requests are none of
// its business. It is safe for concurrent use if pods is.
func New(pods Pods) apimachinery.Authorizer {
	rules := rbac.NodeRules()
	return apimachinery.AuthorizerFunc(func(_ context.Context, a *apimachinery.Attributes) (apimachinery.Decision, string, error) {
		name := NameOf(&a.User)
		if name == "" {
			return apimachinery.NoOpinion, "", nil
		}
		for i := range rules {
			if rbac.Allows(&rules[i], a) {
				return apimachinery.Allow, "", nil
			}
		}
		if why := (&request{a, name, pods}).refuse(); why != "" {
			return apimachinery.NoOpinion, why, nil
		}
		return apimachinery.Allow, "", nil
	})
}

type request struct {
	*apimachinery.Attributes
	node string
	pods Pods
}

// refuse says why not; empty: allowed.
func (r *request) refuse() string {
	if r.Path != "" {
		return "nodes have no paths of their own"
	}
	switch r.Group + "/" + r.Resource {
	case "/secrets", "/configmaps":
		return r.readReferred("get list watch", "")
	case "/persistentvolumeclaims":
		return r.readReferred("get", "")
	case "/serviceaccounts":
		return r.readReferred("create", "token")
	case "/nodes":
		return r.ownNode()
	case "/pods":
		return r.ownPods()
	case "/persistentvolumes":
		return r.verbs("get", "")
	case coordinationv1.GroupName + "/leases":
		return r.ownLease()
	case storagev1.GroupName + "/csinodes":
		return r.own("get create update patch delete")
	case storagev1.GroupName + "/volumeattachments":
		return r.verbs("get", "")
	}
	return fmt.Sprintf("nodes have no access to %s", r.Resource)
}

// verbs refuses other verbs than those and other subresources than sub.
func (r *request) verbs(allowed, sub string) string {
	if r.Sub != sub || !slices.Contains(strings.Fields(allowed), r.Verb) {
		return fmt.Sprintf("node %q may not %s %s", r.node, r.Verb, strings.TrimSuffix(r.Resource+"/"+r.Sub, "/"))
	}
	return ""
}

// readReferred allows what a pod on the node refers to, by name. (A list of one name has that name.)
func (r *request) readReferred(allowed, sub string) string {
	if why := r.verbs(allowed, sub); why != "" {
		return why
	}
	if r.Name == "" || r.Namespace == "" {
		return fmt.Sprintf("node %q may only read single %s", r.node, r.Resource)
	}
	for p := range r.pods.PodsOn(r.node) {
		if p.Namespace == r.Namespace && refersTo(p, r.Resource, r.Name) {
			return ""
		}
	}
	return fmt.Sprintf("no relationship found between node %q and this object", r.node)
}

func (r *request) ownNode() string {
	if r.Sub == "status" {
		if why := r.verbs("get update patch", "status"); why != "" {
			return why
		}
	} else if why := r.own("get list watch create update patch"); why != "" {
		return why
	}
	if r.Verb != "create" && r.Name != r.node {
		return fmt.Sprintf("node %q may only access its own Node", r.node)
	}
	return ""
}

// own allows verbs on the object of the node's own name; on create, when the name is not known yet, admission looks.
func (r *request) own(allowed string) string {
	if why := r.verbs(allowed, ""); why != "" {
		return why
	}
	if r.Verb != "create" && r.Name != r.node {
		return fmt.Sprintf("node %q may only access the %s of its own name", r.node, r.Resource)
	}
	return ""
}

func (r *request) ownLease() string {
	if r.Namespace != corev1.NamespaceNodeLease {
		return fmt.Sprintf("node %q may only access leases in the namespace %s", r.node, corev1.NamespaceNodeLease)
	}
	return r.own("get create update patch delete")
}

func (r *request) ownPods() string {
	switch {
	case r.Sub == "status":
		return r.onOwnPod("get update patch", "status")
	case r.Sub == "eviction":
		return r.onOwnPod("create", "eviction")
	case r.Verb == "create":
		return r.verbs("create", "") // mirror pods: admission looks
	case r.Verb == "list" || r.Verb == "watch":
		if s, err := fields.ParseSelector(r.FieldSelector); err == nil && r.Sub == "" {
			if on, ok := s.RequiresExactMatch("spec.nodeName"); ok && on == r.node {
				return ""
			}
		}
		return fmt.Sprintf("node %q may only list pods by the field selector spec.nodeName=%s", r.node, r.node)
	}
	return r.onOwnPod("get delete", "")
}

func (r *request) onOwnPod(allowed, sub string) string {
	if why := r.verbs(allowed, sub); why != "" {
		return why
	}
	for p := range r.pods.PodsOn(r.node) {
		if p.Namespace == r.Namespace && p.Name == r.Name {
			return ""
		}
	}
	return fmt.Sprintf("no relationship found between node %q and this object", r.node)
}
