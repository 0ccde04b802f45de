package rbac

import (
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery"
)

// The identities of the control plane's parts. Controllers are the service accounts of kube-system that
// [ControllerUser] names.
const (
	SchedulerUser         = "system:kube-scheduler"
	ControllerManagerUser = "system:kube-controller-manager"
	ProxyUser             = "system:kube-proxy"
	NodesGroup            = "system:nodes"
	AuthenticatedGroup    = "system:authenticated"
	UnauthenticatedGroup  = "system:unauthenticated"
)

// ControllerUser is the identity of a controller ("deployment-controller").
func ControllerUser(name string) string {
	return ServiceAccountUser(metav1.NamespaceSystem, name)
}

// Bootstrap returns the roles and bindings that a fresh control plane begins with: Kubernetes' default cluster
// roles for people (cluster-admin, admin, edit, view, …), and one role and binding for each of its parts. The
// rules of roles that aggregate are filled in. The caller owns the objects. Namespaced ones are in kube-system.
func Bootstrap() []apimachinery.Object {
	roles := append(userRoles(), partRoles()...)
	var bindings []*rbacv1.ClusterRoleBinding
	for _, c := range controllers() {
		name := "system:controller:" + c.name
		roles = append(roles, clusterRole(name, c.rules...))
		bindings = append(bindings, bindTo(name, name, rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: metav1.NamespaceSystem, Name: c.name}))
	}
	for _, r := range roles {
		if r.AggregationRule == nil {
			continue
		}
		if rules, err := Aggregate(r, roles); err == nil { // its selectors are our own
			r.Rules = rules
		}
	}
	var out []apimachinery.Object
	for _, r := range roles {
		out = append(out, r)
	}
	for _, b := range append(partBindings(), bindings...) {
		out = append(out, b)
	}
	return append(out, namespacedPolicy()...)
}

func meta(namespace, name string, labels ...string) metav1.ObjectMeta {
	m := metav1.ObjectMeta{
		Namespace: namespace, Name: name,
		Labels:      map[string]string{"kubernetes.io/bootstrapping": "rbac-defaults"},
		Annotations: map[string]string{rbacv1.AutoUpdateAnnotationKey: "true"},
	}
	for _, l := range labels {
		m.Labels[l] = "true"
	}
	return m
}

func clusterRole(name string, rules ...rbacv1.PolicyRule) *rbacv1.ClusterRole {
	return &rbacv1.ClusterRole{ObjectMeta: meta("", name), Rules: rules}
}

func bindTo(name, role string, subjects ...rbacv1.Subject) *rbacv1.ClusterRoleBinding {
	return &rbacv1.ClusterRoleBinding{
		ObjectMeta: meta("", name), Subjects: subjects,
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
	}
}

func user(name string) rbacv1.Subject {
	return rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: name}
}

func groupSubject(name string) rbacv1.Subject {
	return rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: name}
}

// on makes a rule of lists separated by spaces; the group "core" is the empty one.
func on(verbs, groups, resources string, names ...string) rbacv1.PolicyRule {
	r := rbacv1.PolicyRule{Verbs: strings.Fields(verbs), APIGroups: strings.Fields(groups), Resources: strings.Fields(resources), ResourceNames: names}
	for i, g := range r.APIGroups {
		if g == "core" {
			r.APIGroups[i] = ""
		}
	}
	return r
}

func get(paths string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{Verbs: []string{"get"}, NonResourceURLs: strings.Fields(paths)}
}

const (
	read      = "get list watch"
	write     = "create delete deletecollection patch update"
	readWrite = "create delete deletecollection get list patch update watch"
	informed  = "list watch"
)
