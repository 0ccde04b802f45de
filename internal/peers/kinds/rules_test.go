package kinds

import (
	"context"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/kubernetes/pkg/registry/apps/deployment"
	"k8s.io/kubernetes/pkg/registry/apps/replicaset"
	csr "k8s.io/kubernetes/pkg/registry/certificates/certificates"
	"k8s.io/kubernetes/pkg/registry/coordination/lease"
	"k8s.io/kubernetes/pkg/registry/core/configmap"
	"k8s.io/kubernetes/pkg/registry/core/event"
	"k8s.io/kubernetes/pkg/registry/core/namespace"
	"k8s.io/kubernetes/pkg/registry/core/node"
	"k8s.io/kubernetes/pkg/registry/core/pod"
	"k8s.io/kubernetes/pkg/registry/core/secret"
	"k8s.io/kubernetes/pkg/registry/core/serviceaccount"
	"k8s.io/kubernetes/pkg/registry/networking/ingress"
	"k8s.io/kubernetes/pkg/registry/networking/ingressclass"
	"k8s.io/kubernetes/pkg/registry/networking/ipaddress"
	"k8s.io/kubernetes/pkg/registry/networking/networkpolicy"
	"k8s.io/kubernetes/pkg/registry/networking/servicecidr"
	"k8s.io/kubernetes/pkg/registry/node/runtimeclass"
	"k8s.io/kubernetes/pkg/registry/rbac/clusterrole"
	"k8s.io/kubernetes/pkg/registry/rbac/clusterrolebinding"
	"k8s.io/kubernetes/pkg/registry/rbac/role"
	"k8s.io/kubernetes/pkg/registry/rbac/rolebinding"
	"k8s.io/kubernetes/pkg/registry/scheduling/priorityclass"
	"k8s.io/kubernetes/pkg/registry/storage/csidriver"
	"k8s.io/kubernetes/pkg/registry/storage/csinode"
	"k8s.io/kubernetes/pkg/registry/storage/csistoragecapacity"
	"k8s.io/kubernetes/pkg/registry/storage/storageclass"
	"k8s.io/kubernetes/pkg/registry/storage/volumeattachment"
	"k8s.io/kubernetes/pkg/registry/storage/volumeattributesclass"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/kinds/apps"
	"github.com/bedplate/bedplate/apimachinery/kinds/certificates"
	"github.com/bedplate/bedplate/apimachinery/kinds/coordination"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
	"github.com/bedplate/bedplate/apimachinery/kinds/discovery"
	"github.com/bedplate/bedplate/apimachinery/kinds/networking"
	nodekinds "github.com/bedplate/bedplate/apimachinery/kinds/node"
	"github.com/bedplate/bedplate/apimachinery/kinds/rbac"
	"github.com/bedplate/bedplate/apimachinery/kinds/scheduling"
	"github.com/bedplate/bedplate/apimachinery/kinds/storage"
)

// pair is one kind as both have it.
type pair struct {
	gvk    schema.GroupVersionKind
	ours   apimachinery.Resource
	theirs rules
	// subs are the subresources that both write with a strategy.
	subs map[string]rules
}

// updater is the strategy of a subresource.
type updater interface {
	PrepareForUpdate(ctx context.Context, obj, old runtime.Object)
	ValidateUpdate(ctx context.Context, obj, old runtime.Object) field.ErrorList
	Canonicalize(obj runtime.Object)
}

// creator is the strategy of a kind.
type creator interface {
	rest.RESTCreateStrategy
	updater
}

func pairs() []pair {
	none := map[string]updater{}
	all := []struct {
		ours   apimachinery.Resource
		theirs creator
		subs   map[string]updater
	}{
		{core.Pods(), pod.Strategy, map[string]updater{"status": pod.StatusStrategy}},
		{core.Nodes(), node.Strategy, map[string]updater{"status": node.StatusStrategy}},
		{core.Namespaces(), namespace.Strategy, map[string]updater{"status": namespace.StatusStrategy, "finalize": namespace.FinalizeStrategy}},
		{core.Secrets(), secret.Strategy, none},
		{core.ConfigMaps(), configmap.Strategy, none},
		{core.Events(), event.Strategy, none},
		{core.ServiceAccounts(), serviceaccount.Strategy, none},
		{core.Services(), newServiceRules(""), map[string]updater{"status": newServiceRules("status")}},
		{core.Endpoints(), endpointsRules{configmap.Strategy}, none},
		{discovery.EndpointSlices(), endpointSliceRules{configmap.Strategy}, none},
		{networking.IPAddresses(), ipaddress.Strategy, none},
		{networking.ServiceCIDRs(), servicecidr.Strategy, map[string]updater{"status": servicecidr.StatusStrategy}},
		{networking.Ingresses(), ingress.Strategy, map[string]updater{"status": ingress.StatusStrategy}},
		{networking.IngressClasses(), ingressclass.Strategy, none},
		{networking.NetworkPolicies(), networkpolicy.Strategy, none},
		{storage.StorageClasses(), storageclass.Strategy, none},
		{storage.VolumeAttributesClasses(), volumeattributesclass.Strategy, none},
		{storage.VolumeAttachments(), volumeattachment.Strategy, map[string]updater{"status": volumeattachment.StatusStrategy}},
		{storage.CSIDrivers(), csidriver.Strategy, none},
		{storage.CSINodes(), csinode.Strategy, none},
		{storage.CSIStorageCapacities(), csistoragecapacity.Strategy, none},
		{nodekinds.RuntimeClasses(), runtimeclass.Strategy, none},
		{scheduling.PriorityClasses(), priorityclass.Strategy, none},
		{certificates.CertificateSigningRequests(), csr.Strategy, map[string]updater{"status": csr.StatusStrategy, "approval": csr.ApprovalStrategy}},
		{coordination.Leases(), lease.Strategy, none},
		{rbac.Roles(), role.Strategy, none},
		{rbac.ClusterRoles(), clusterrole.Strategy, none},
		{rbac.RoleBindings(), rolebinding.Strategy, none},
		{rbac.ClusterRoleBindings(), clusterrolebinding.Strategy, none},
		{apps.Deployments(), deployment.Strategy, map[string]updater{"status": deployment.StatusStrategy}},
		{apps.ReplicaSets(), replicaset.Strategy, map[string]updater{"status": replicaset.StatusStrategy}},
	}
	var out []pair
	for _, k := range all {
		view := k.ours.Views[0]
		p := pair{gvk: view.GroupVersionKind, ours: k.ours, theirs: ofKind(k.theirs, contextOf(view, "")), subs: map[string]rules{}}
		for name, s := range k.subs {
			p.subs[name] = ofUpdates(s, contextOf(view, name))
		}
		out = append(out, p)
	}
	return out
}

// contextOf is the context of a request for a view, which some rules depend on.
func contextOf(v apimachinery.View, sub string) context.Context {
	theirs := &user.DefaultInfo{Name: asker.Name, UID: asker.UID, Groups: asker.Groups, Extra: asker.Extra}
	ctx := request.WithUser(request.WithNamespace(context.Background(), "default"), theirs)
	return request.WithRequestInfo(ctx, &request.RequestInfo{
		IsResourceRequest: true, Verb: "update", APIGroup: v.Group, APIVersion: v.Version, Resource: v.Plural, Subresource: sub,
	})
}

// rules is what Kubernetes' registry does with objects of a kind, in internal types; old is nil on create.
type rules struct {
	prepare  func(new, old runtime.Object)
	validate func(new, old runtime.Object) field.ErrorList
	after    func(runtime.Object)
}

func ofUpdates(s updater, ctx context.Context) rules {
	return rules{
		prepare:  func(new, old runtime.Object) { s.PrepareForUpdate(ctx, new, old) },
		validate: func(new, old runtime.Object) field.ErrorList { return s.ValidateUpdate(ctx, new, old) },
		after:    s.Canonicalize,
	}
}

func ofKind(s creator, ctx context.Context) rules {
	updates := ofUpdates(s, ctx)
	return rules{
		prepare: func(new, old runtime.Object) {
			if old != nil {
				updates.prepare(new, old)
				return
			}
			s.PrepareForCreate(ctx, new)
		},
		validate: func(new, old runtime.Object) field.ErrorList {
			if old != nil {
				return updates.validate(new, old)
			}
			return s.Validate(ctx, new)
		},
		after: s.Canonicalize,
	}
}

// untimed blanks the times of conditions that a write sets, once they are set.
func untimed(o runtime.Object) {
	switch o := o.(type) {
	case *corev1.Pod:
		if len(o.Status.Conditions) == 1 && o.Status.Conditions[0].Reason == corev1.PodReasonSchedulingGated {
			blankIfNow(&o.Status.Conditions[0].LastTransitionTime)
		}
	case *certificatesv1.CertificateSigningRequest:
		for i := range o.Status.Conditions {
			blankIfNow(&o.Status.Conditions[i].LastTransitionTime)
			blankIfNow(&o.Status.Conditions[i].LastUpdateTime)
		}
	}
}

func blankIfNow(t *metav1.Time) {
	if time.Since(t.Time).Abs() < time.Hour {
		*t = metav1.Unix(1, 0)
	}
}
