package rbac

import (
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	toAdmin = "rbac.authorization.k8s.io/aggregate-to-admin"
	toEdit  = "rbac.authorization.k8s.io/aggregate-to-edit"
	toView  = "rbac.authorization.k8s.io/aggregate-to-view"
)

// userRoles are the roles that are meant to be bound to people, and those that everybody has.
func userRoles() []*rbacv1.ClusterRole {
	return append([]*rbacv1.ClusterRole{
		clusterRole("cluster-admin", on("*", "*", "*"), rbacv1.PolicyRule{Verbs: []string{"*"}, NonResourceURLs: []string{"*"}}),
		clusterRole("system:discovery", get("/livez /readyz /healthz /version /version/ /openapi /openapi/* /api /api/* /apis /apis/*")),
		clusterRole("system:public-info-viewer", get("/livez /readyz /healthz /version /version/")),
		clusterRole("system:monitoring", get("/metrics /metrics/slis /livez /readyz /healthz /livez/* /readyz/* /healthz/*")),
		clusterRole("system:basic-user",
			on("create", "authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews"),
			on("create", "authentication.k8s.io", "selfsubjectreviews")),
		aggregated("admin", toAdmin), aggregated("edit", toEdit, toAdmin), aggregated("view", toView, toEdit),
	}, collectedRoles()...)
}

// aggregated makes a role that collects those labelled by, and is labelled for others itself.
func aggregated(name, by string, labels ...string) *rbacv1.ClusterRole {
	return &rbacv1.ClusterRole{
		ObjectMeta: meta("", name, labels...),
		AggregationRule: &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{
			{MatchLabels: map[string]string{by: "true"}},
		}},
	}
}

func collected(name, label string, rules ...rbacv1.PolicyRule) *rbacv1.ClusterRole {
	return &rbacv1.ClusterRole{ObjectMeta: meta("", name, label), Rules: rules}
}

func collectedRoles() []*rbacv1.ClusterRole {
	return []*rbacv1.ClusterRole{
		collected("system:aggregate-to-admin", toAdmin,
			on("create", "authorization.k8s.io", "localsubjectaccessreviews"),
			on(readWrite, rbacv1.GroupName, "roles rolebindings")),
		collected("system:aggregate-to-edit", toEdit,
			on(read, "core", "pods/attach pods/proxy pods/exec pods/portforward secrets services/proxy"),
			on("impersonate", "core", "serviceaccounts"),
			on(write, "core", "pods pods/attach pods/proxy pods/exec pods/portforward"),
			on("create", "core", "pods/eviction"),
			on(write, "core", "configmaps events persistentvolumeclaims replicationcontrollers replicationcontrollers/scale secrets serviceaccounts services services/proxy"),
			on("create", "core", "serviceaccounts/token"),
			on(write, "apps", "statefulsets statefulsets/scale daemonsets deployments deployments/scale deployments/rollback replicasets replicasets/scale"),
			on(write, "autoscaling", "horizontalpodautoscalers"),
			on(write, "batch", "jobs cronjobs"),
			on(write, "policy", "poddisruptionbudgets"),
			on(write, "networking.k8s.io", "networkpolicies ingresses"),
			on(readWrite, "coordination.k8s.io", "leases")),
		collected("system:aggregate-to-view", toView,
			on(read, "core", "pods replicationcontrollers replicationcontrollers/scale serviceaccounts services services/status endpoints persistentvolumeclaims persistentvolumeclaims/status configmaps"),
			on(read, "core", "limitranges resourcequotas bindings events pods/status resourcequotas/status namespaces/status replicationcontrollers/status pods/log"),
			on(read, "core", "namespaces"),
			on(read, "discovery.k8s.io", "endpointslices"),
			on(read, "apps", "controllerrevisions statefulsets statefulsets/status statefulsets/scale daemonsets daemonsets/status deployments deployments/status deployments/scale replicasets replicasets/status replicasets/scale"),
			on(read, "autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status"),
			on(read, "batch", "jobs cronjobs cronjobs/status jobs/status"),
			on(read, "policy", "poddisruptionbudgets poddisruptionbudgets/status"),
			on(read, "networking.k8s.io", "networkpolicies ingresses ingresses/status")),
	}
}
