package rbac

import rbacv1 "k8s.io/api/rbac/v1"

// controller is a controller's name, which is its service account in kube-system, and what it may do.
type controller struct {
	name  string
	rules []rbacv1.PolicyRule
}

func rules(r ...rbacv1.PolicyRule) []rbacv1.PolicyRule { return append(r, events()) }

func controllers() []controller {
	return append(workloadControllers(), append(clusterControllers(), volumeControllers()...)...)
}

func workloadControllers() []controller {
	return []controller{
		{"deployment-controller", rules(
			on("get list watch update patch", "apps", "deployments"), on("update patch", "apps", "deployments/status deployments/finalizers"),
			on("create delete get list patch update watch", "apps", "replicasets"), on("get list update watch", "core", "pods"))},
		{"replicaset-controller", rules(
			on("get list watch update", "apps", "replicasets"), on("update patch", "apps", "replicasets/status replicasets/finalizers"),
			on("create delete get list patch update watch", "core", "pods"))},
		{"replication-controller", rules(
			on("get list watch update", "core", "replicationcontrollers"), on("update patch", "core", "replicationcontrollers/status replicationcontrollers/finalizers"),
			on("create delete get list patch update watch", "core", "pods"))},
		{"statefulset-controller", rules(
			on("get list watch", "apps", "statefulsets"), on("update patch", "apps", "statefulsets/status statefulsets/finalizers"),
			on("create delete get list patch update watch", "core", "pods"), on("create delete get list patch update watch", "apps", "controllerrevisions"),
			on("create get list patch update watch", "core", "persistentvolumeclaims"))},
		{"daemon-set-controller", rules(
			on("get list watch", "apps", "daemonsets"), on("update patch", "apps", "daemonsets/status daemonsets/finalizers"),
			on(informed, "core", "nodes"), on("create delete get list patch update watch", "core", "pods"), on("create", "core", "pods/binding"),
			on("create delete get list patch update watch", "apps", "controllerrevisions"))},
		{"job-controller", rules(
			on("get list watch update patch", "batch", "jobs"), on("update patch", "batch", "jobs/status jobs/finalizers"),
			on("create delete get list patch update watch", "core", "pods"))},
		{"cronjob-controller", rules(
			on("get list watch update", "batch", "cronjobs"), on("create delete get list patch update watch", "batch", "jobs"),
			on("update patch", "batch", "cronjobs/status cronjobs/finalizers"), on("list delete", "core", "pods"))},
		{"horizontal-pod-autoscaler", rules(
			on(read, "autoscaling", "horizontalpodautoscalers"), on("update patch", "autoscaling", "horizontalpodautoscalers/status"),
			on("get update", "*", "*/scale"), on("list", "core", "pods"), on("list", "metrics.k8s.io", "pods"), on("get list", "custom.metrics.k8s.io external.metrics.k8s.io", "*"))},
		{"disruption-controller", rules(
			on(read, "apps", "deployments replicasets statefulsets"), on(read, "core", "replicationcontrollers"), on(read, "policy", "poddisruptionbudgets"),
			on("update patch", "policy", "poddisruptionbudgets/status"), on(read, "core", "pods"), on("patch update", "core", "pods/status"), on("get", "*", "*/scale"))},
		{"ttl-after-finished-controller", rules(on("delete get list watch", "batch", "jobs"))},
	}
}

func clusterControllers() []controller {
	return []controller{
		{"generic-garbage-collector", rules(on("delete get list patch update watch", "*", "*"), get("/api /api/* /apis /apis/*"))},
		{"namespace-controller", rules(
			on("delete get list watch", "core", "namespaces"), on("update patch", "core", "namespaces/finalize namespaces/status"),
			on("delete deletecollection get list", "*", "*"), get("/api /api/* /apis /apis/*"))},
		{"service-account-controller", rules(on("create", "core", "serviceaccounts"), on(informed, "core", "serviceaccounts namespaces"))},
		{"tokens-controller", rules(
			on("get list watch update", "core", "serviceaccounts"), on("create delete get list patch update watch", "core", "secrets"))},
		{"root-ca-cert-publisher", rules(on("create update", "core", "configmaps"), on(informed, "core", "configmaps namespaces"))},
		{"clusterrole-aggregation-controller", []rbacv1.PolicyRule{on("escalate get list patch update watch", rbacv1.GroupName, "clusterroles")}},
		{"endpoint-controller", rules(
			on(read, "core", "services pods"), on("create delete get list update", "core", "endpoints"), on("create", "core", "endpoints/restricted"))},
		{"endpointslice-controller", rules(
			on(read, "core", "services pods nodes"), on("update", "core", "services/finalizers"), on("create delete get list update watch", "discovery.k8s.io", "endpointslices"), on("create", "discovery.k8s.io", "endpointslices/restricted"))},
		{"endpointslicemirroring-controller", rules(
			on(read, "core", "services endpoints"), on("update", "core", "services/finalizers endpoints/finalizers"),
			on("create delete get list update watch", "discovery.k8s.io", "endpointslices"), on("create", "discovery.k8s.io", "endpointslices/restricted"))},
		{"node-controller", rules(
			on("delete get list patch update watch", "core", "nodes"), on("patch update", "core", "nodes/status"), on("get list watch delete", "core", "pods"),
			on("patch update", "core", "pods/status"), on(read, "coordination.k8s.io", "leases"))},
		{"pod-garbage-collector", rules(on("delete list watch", "core", "pods"), on(read, "core", "nodes"), on("patch", "core", "pods/status"))},
		{"resourcequota-controller", rules(on(informed, "*", "*"), on("update", "core", "resourcequotas/status"), get("/api /api/* /apis /apis/*"))},
		{"service-controller", rules(
			on(read, "core", "services"), on("patch update", "core", "services/status"), on(informed, "core", "nodes"))},
		{"certificate-controller", rules(
			on("delete get list watch", "certificates.k8s.io", "certificatesigningrequests"),
			on("update", "certificates.k8s.io", "certificatesigningrequests/status certificatesigningrequests/approval"),
			on("approve", "certificates.k8s.io", "signers", "kubernetes.io/kube-apiserver-client-kubelet"),
			on("sign", "certificates.k8s.io", "signers", "kubernetes.io/legacy-unknown", "kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet", "kubernetes.io/kube-apiserver-client"),
			on("create", "authorization.k8s.io", "subjectaccessreviews"))},
	}
}

func volumeControllers() []controller {
	return []controller{
		{"persistent-volume-binder", rules(
			on("create delete get list update watch", "core", "persistentvolumes"), on("update", "core", "persistentvolumes/status"),
			on("get list update watch", "core", "persistentvolumeclaims"), on("update", "core", "persistentvolumeclaims/status"),
			on("create delete get list watch", "core", "pods"), on(read, "storage.k8s.io", "storageclasses"), on(informed, "core", "nodes"), on("get list watch", "core", "secrets"))},
		{"attachdetach-controller", rules(
			on(informed, "core", "persistentvolumes persistentvolumeclaims"), on(read, "core", "nodes"), on("patch update", "core", "nodes/status"),
			on(informed, "core", "pods"), on("create delete get list watch", "storage.k8s.io", "volumeattachments"), on(read, "storage.k8s.io", "csidrivers csinodes"))},
		{"expand-controller", rules(
			on("get list patch update watch", "core", "persistentvolumes"), on("patch update", "core", "persistentvolumeclaims/status"),
			on(read, "core", "persistentvolumeclaims"), on(read, "storage.k8s.io", "storageclasses"))},
		{"ephemeral-volume-controller", rules(on(read, "core", "pods"), on("update", "core", "pods/finalizers"), on("create get list watch", "core", "persistentvolumeclaims"))},
		{"pvc-protection-controller", rules(on("get list update watch", "core", "persistentvolumeclaims"), on(read, "core", "pods"))},
		{"pv-protection-controller", rules(on("get list update watch", "core", "persistentvolumes"))},
	}
}
