package rbac

import (
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery"
)

func events() rbacv1.PolicyRule {
	return on("create patch update", "core events.k8s.io", "events")
}

// delegate is what a server needs that asks this one who somebody is and what they may do.
func delegate() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{on("create", "authentication.k8s.io", "tokenreviews"), on("create", "authorization.k8s.io", "subjectaccessreviews")}
}

// partRoles are those of the parts that aren't controllers.
func partRoles() []*rbacv1.ClusterRole {
	return []*rbacv1.ClusterRole{
		clusterRole("system:auth-delegator", delegate()...),
		clusterRole("system:kubelet-api-admin", on("proxy", "core", "nodes"), on("*", "core", "nodes/proxy nodes/metrics nodes/stats nodes/log nodes/spec nodes/checkpoint nodes/configz nodes/healthz nodes/pods"), on(read, "core", "nodes")),
		clusterRole("system:kube-dns", on(informed, "core", "endpoints services pods namespaces"), on(informed, "discovery.k8s.io", "endpointslices")),
		clusterRole("system:node-proxier",
			on(informed, "core", "services endpoints"), on(read, "core", "nodes"), events(),
			on(informed, "discovery.k8s.io", "endpointslices"), on(informed, "networking.k8s.io", "servicecidrs")),
		clusterRole("system:node", NodeRules()...),
		clusterRole("system:node-problem-detector", on("get", "core", "nodes"), on("patch", "core", "nodes/status"), events()),
		clusterRole("system:node-bootstrapper", on("create get list watch", "certificates.k8s.io", "certificatesigningrequests")),
		clusterRole("system:persistent-volume-provisioner",
			on("create delete get list watch", "core", "persistentvolumes"), on("get list update watch", "core", "persistentvolumeclaims"),
			on(read, "storage.k8s.io", "storageclasses"), on("watch", "core", "events"), events()),
		clusterRole("system:service-account-issuer-discovery", get("/.well-known/openid-configuration /.well-known/openid-configuration/ /openid/v1/jwks /openid/v1/jwks/")),
		clusterRole("system:volume-scheduler",
			on("get list patch update watch", "core", "persistentvolumes"), on(read, "storage.k8s.io", "storageclasses"),
			on("get list patch update watch", "core", "persistentvolumeclaims")),
		clusterRole("system:kube-scheduler", schedulerRules()...),
		clusterRole("system:kube-controller-manager", controllerManagerRules()...),
	}
}

func schedulerRules() []rbacv1.PolicyRule {
	return append(delegate(),
		events(),
		on("create", "coordination.k8s.io", "leases"),
		on("get list watch update", "coordination.k8s.io", "leases", "kube-scheduler"),
		on(read, "core", "nodes namespaces replicationcontrollers services"),
		on("delete get list watch", "core", "pods"),
		on("create", "core", "bindings pods/binding"),
		on("patch update", "core", "pods/status"),
		on(read, "apps", "replicasets statefulsets"),
		on(read, "policy", "poddisruptionbudgets"),
		on(read, "core", "persistentvolumeclaims persistentvolumes"),
		on(read, "storage.k8s.io", "csinodes csidrivers csistoragecapacities volumeattachments"),
	)
}

// controllerManagerRules are of the process around the controllers: it elects a leader and mints their tokens.
func controllerManagerRules() []rbacv1.PolicyRule {
	return append(delegate(),
		events(),
		on("create", "coordination.k8s.io", "leases"),
		on("get list watch update", "coordination.k8s.io", "leases", "kube-controller-manager"),
		on("create", "core", "serviceaccounts/token"),
		on("create get update", "core", "serviceaccounts"),
		on("create delete get update", "core", "secrets"),
		on("get", "core", "namespaces configmaps"),
		on(informed, "*", "*"),
	)
}

// NodeRules are what every node may do, whichever it is; package node decides on the rest.
func NodeRules() []rbacv1.PolicyRule {
	return append(delegate(),
		on("create", "authorization.k8s.io", "localsubjectaccessreviews"),
		on(read, "core", "services"),
		on(read, "node.k8s.io", "runtimeclasses"),
		on(read, "storage.k8s.io", "csidrivers"),
		on("create get list watch", "certificates.k8s.io", "certificatesigningrequests"),
		events(),
	)
}

func partBindings() []*rbacv1.ClusterRoleBinding {
	everybody := []rbacv1.Subject{groupSubject(AuthenticatedGroup), groupSubject(UnauthenticatedGroup)}
	return []*rbacv1.ClusterRoleBinding{
		bindTo("cluster-admin", "cluster-admin", groupSubject(MastersGroup)),
		bindTo("system:monitoring", "system:monitoring", groupSubject("system:monitoring")),
		bindTo("system:discovery", "system:discovery", groupSubject(AuthenticatedGroup)),
		bindTo("system:basic-user", "system:basic-user", groupSubject(AuthenticatedGroup)),
		bindTo("system:public-info-viewer", "system:public-info-viewer", everybody...),
		bindTo("system:node-proxier", "system:node-proxier", user(ProxyUser)),
		bindTo("system:kube-scheduler", "system:kube-scheduler", user(SchedulerUser)),
		bindTo("system:volume-scheduler", "system:volume-scheduler", user(SchedulerUser)),
		bindTo("system:kube-controller-manager", "system:kube-controller-manager", user(ControllerManagerUser)),
		// What serves a node's services answers for their names, too.
		bindTo("system:kube-dns", "system:kube-dns", rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: metav1.NamespaceSystem, Name: "kube-dns"}, user(ProxyUser)),
		bindTo("system:service-account-issuer-discovery", "system:service-account-issuer-discovery", groupSubject("system:serviceaccounts")),
	}
}

// namespacedPolicy is what stands in kube-system alone.
func namespacedPolicy() []apimachinery.Object {
	const reader, names = "extension-apiserver-authentication-reader", "bedplate:node-dns"
	return []apimachinery.Object{
		// What answers for names on a node adds itself to the service of the cluster's DNS.
		&rbacv1.Role{ObjectMeta: meta(metav1.NamespaceSystem, names), Rules: []rbacv1.PolicyRule{on("create get patch update", "discovery.k8s.io", "endpointslices")}},
		&rbacv1.RoleBinding{
			ObjectMeta: meta(metav1.NamespaceSystem, names), Subjects: []rbacv1.Subject{user(ProxyUser)},
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: names},
		},
		&rbacv1.Role{ObjectMeta: meta(metav1.NamespaceSystem, reader), Rules: []rbacv1.PolicyRule{on(read, "core", "configmaps", "extension-apiserver-authentication")}},
		&rbacv1.RoleBinding{
			ObjectMeta: meta(metav1.NamespaceSystem, "system::"+reader),
			Subjects:   []rbacv1.Subject{user(ControllerManagerUser), user(SchedulerUser)},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: reader},
		},
	}
}
