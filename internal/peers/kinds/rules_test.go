package kinds

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	podutil "k8s.io/kubernetes/pkg/api/pod"
	"k8s.io/kubernetes/pkg/apis/apps"
	appsvalidation "k8s.io/kubernetes/pkg/apis/apps/validation"
	"k8s.io/kubernetes/pkg/apis/coordination"
	coordinationvalidation "k8s.io/kubernetes/pkg/apis/coordination/validation"
	"k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/core/helper/qos"
	corevalidation "k8s.io/kubernetes/pkg/apis/core/validation"
	"k8s.io/kubernetes/pkg/apis/rbac"
	rbacvalidation "k8s.io/kubernetes/pkg/apis/rbac/validation"
)

// The registry strategies call the functions below in this way. The strategies themselves would link a whole API
// server.

// validating picks the function for create or update, by whether there is an old object.
func validating[T runtime.Object](create func(T) field.ErrorList, update func(new, old T) field.ErrorList) func(new, old runtime.Object) field.ErrorList {
	return func(new, old runtime.Object) field.ErrorList {
		if old == nil {
			return create(new.(T))
		}
		return update(new.(T), old.(T))
	}
}

func podOptions(new, old *core.Pod) corevalidation.PodValidationOptions {
	var opts corevalidation.PodValidationOptions
	if old == nil {
		opts = podutil.GetValidationOptionsFromPodSpecAndMeta(&new.Spec, nil, &new.ObjectMeta, nil)
	} else {
		opts = podutil.GetValidationOptionsFromPodSpecAndMeta(&new.Spec, &old.Spec, &new.ObjectMeta, &old.ObjectMeta)
	}
	opts.ResourceIsPod = true
	return opts
}

func podRules() rules {
	return rules{
		prepare: func(new, old runtime.Object) {
			n := new.(*core.Pod)
			if old == nil {
				n.Generation = 1
				n.Status = core.PodStatus{Phase: core.PodPending, QOSClass: qos.GetPodQOS(n)}
				podutil.DropDisabledPodFields(n, nil)
				if len(n.Spec.SchedulingGates) > 0 {
					podutil.UpdatePodCondition(&n.Status, &core.PodCondition{
						Type: core.PodScheduled, Status: core.ConditionFalse, Reason: corev1.PodReasonSchedulingGated,
						Message: "Scheduling is blocked due to non-empty scheduling gates",
					})
					n.Status.Conditions[0].LastTransitionTime.Reset()
				}
				return
			}
			o := old.(*core.Pod)
			n.Status = o.Status
			podutil.DropDisabledPodFields(n, o)
			if !equality.Semantic.DeepEqual(n.Spec, o.Spec) {
				n.Generation++
			}
		},
		validate: validating(
			func(p *core.Pod) field.ErrorList { return corevalidation.ValidatePodCreate(p, podOptions(p, nil)) },
			func(n, o *core.Pod) field.ErrorList { return corevalidation.ValidatePodUpdate(n, o, podOptions(n, o)) }),
	}
}

func podStatusRules() rules {
	return rules{
		prepare: func(new, old runtime.Object) {
			n, o := new.(*core.Pod), old.(*core.Pod)
			n.Spec, n.OwnerReferences = o.Spec, o.OwnerReferences
			if n.Status.QOSClass == "" {
				n.Status.QOSClass = o.Status.QOSClass
			}
			if n.Status.ObservedGeneration == 0 {
				n.Status.ObservedGeneration = o.Status.ObservedGeneration
			}
			before := map[core.PodConditionType][]int64{}
			for _, c := range o.Status.Conditions {
				before[c.Type] = append(before[c.Type], c.ObservedGeneration)
			}
			for i, c := range n.Status.Conditions {
				if have := before[c.Type]; len(have) > 0 {
					before[c.Type] = have[1:]
					if c.ObservedGeneration == 0 {
						n.Status.Conditions[i].ObservedGeneration = have[0]
					}
				}
			}
			podutil.DropDisabledPodFields(n, o)
		},
		validate: validating(nil, func(n, o *core.Pod) field.ErrorList {
			return corevalidation.ValidatePodStatusUpdate(n, o, podOptions(n, o))
		}),
	}
}

func nodeRules() rules {
	return rules{
		prepare: func(new, old runtime.Object) {
			n := new.(*core.Node)
			if old == nil {
				n.Spec.ConfigSource, n.Status.Config = nil, nil
				return
			}
			o := old.(*core.Node)
			n.Status = o.Status
			if o.Spec.ConfigSource == nil {
				n.Spec.ConfigSource = nil
			}
		},
		validate: validating(corevalidation.ValidateNode, func(n, o *core.Node) field.ErrorList {
			return append(corevalidation.ValidateNode(n), corevalidation.ValidateNodeUpdate(n, o)...)
		}),
	}
}

func nodeStatusRules() rules {
	return rules{
		prepare: func(new, old runtime.Object) {
			n, o := new.(*core.Node), old.(*core.Node)
			n.Spec = o.Spec
			if o.Status.Config == nil {
				n.Status.Config = nil
			}
		},
		validate: validating(nil, corevalidation.ValidateNodeUpdate),
	}
}

func namespaceRules() rules {
	return rules{
		prepare: func(new, old runtime.Object) {
			n := new.(*core.Namespace)
			if old != nil {
				n.Spec.Finalizers, n.Status = old.(*core.Namespace).Spec.Finalizers, old.(*core.Namespace).Status
				return
			}
			n.Status = core.NamespaceStatus{Phase: core.NamespaceActive}
			for _, f := range n.Spec.Finalizers {
				if f == core.FinalizerKubernetes {
					return
				}
			}
			n.Spec.Finalizers = append(n.Spec.Finalizers, core.FinalizerKubernetes)
		},
		validate: validating(corevalidation.ValidateNamespace, func(n, o *core.Namespace) field.ErrorList {
			return append(corevalidation.ValidateNamespace(n), corevalidation.ValidateNamespaceUpdate(n, o)...)
		}),
		after: labelNamespace,
	}
}

func labelNamespace(o runtime.Object) {
	n := o.(*core.Namespace)
	if n.Labels == nil {
		n.Labels = map[string]string{}
	}
	n.Labels[corev1.LabelMetadataName] = n.Name
}

func namespaceStatusRules() rules {
	return rules{
		prepare:  func(new, old runtime.Object) { new.(*core.Namespace).Spec = old.(*core.Namespace).Spec },
		validate: validating(nil, corevalidation.ValidateNamespaceStatusUpdate),
		after:    labelNamespace,
	}
}

func namespaceFinalizeRules() rules {
	return rules{
		prepare:  func(new, old runtime.Object) { new.(*core.Namespace).Status = old.(*core.Namespace).Status },
		validate: validating(nil, corevalidation.ValidateNamespaceFinalizeUpdate),
		after:    labelNamespace,
	}
}

func secretRules() rules {
	return rules{
		prepare: func(new, old runtime.Object) {
			if n := new.(*core.Secret); old != nil && n.Type == "" {
				n.Type = old.(*core.Secret).Type
			}
		},
		validate: validating(corevalidation.ValidateSecret, corevalidation.ValidateSecretUpdate),
	}
}

func configMapRules() rules {
	return rules{validate: validating(corevalidation.ValidateConfigMap, corevalidation.ValidateConfigMapUpdate)}
}

func eventRules() rules {
	v1 := schema.GroupVersion{Version: "v1"}
	return rules{validate: validating(
		func(e *core.Event) field.ErrorList { return corevalidation.ValidateEventCreate(e, v1) },
		func(n, o *core.Event) field.ErrorList { return corevalidation.ValidateEventUpdate(n, o, v1) })}
}

func serviceAccountRules() rules {
	return rules{
		prepare: func(new, _ runtime.Object) {
			s := new.(*core.ServiceAccount)
			for i, ref := range s.Secrets {
				s.Secrets[i] = core.ObjectReference{Name: ref.Name}
			}
		},
		validate: validating(corevalidation.ValidateServiceAccount, corevalidation.ValidateServiceAccountUpdate),
	}
}

func leaseRules() rules {
	return rules{
		prepare: func(new, old runtime.Object) {
			n, o := new.(*coordination.Lease), &coordination.Lease{}
			if old != nil {
				o = old.(*coordination.Lease)
			}
			// CoordinatedLeaderElection is off by default.
			if o.Spec.Strategy == nil {
				n.Spec.Strategy = nil
			}
			if o.Spec.PreferredHolder == nil {
				n.Spec.PreferredHolder = nil
			}
		},
		validate: validating(coordinationvalidation.ValidateLease, coordinationvalidation.ValidateLeaseUpdate),
	}
}

func roleRules() rules {
	return rules{validate: validating(rbacvalidation.ValidateRole, rbacvalidation.ValidateRoleUpdate)}
}

func clusterRoleRules() rules {
	none := rbacvalidation.ClusterRoleValidationOptions{}
	return rules{validate: validating(
		func(r *rbac.ClusterRole) field.ErrorList { return rbacvalidation.ValidateClusterRole(r, none) },
		func(n, o *rbac.ClusterRole) field.ErrorList { return rbacvalidation.ValidateClusterRoleUpdate(n, o, none) })}
}

func roleBindingRules() rules {
	return rules{validate: validating(rbacvalidation.ValidateRoleBinding, rbacvalidation.ValidateRoleBindingUpdate)}
}

func clusterRoleBindingRules() rules {
	return rules{validate: validating(rbacvalidation.ValidateClusterRoleBinding, rbacvalidation.ValidateClusterRoleBindingUpdate)}
}

func templateOptions(new, old *core.PodTemplateSpec) corevalidation.PodValidationOptions {
	return podutil.GetValidationOptionsFromPodTemplate(new, old)
}

func deploymentRules() rules {
	return rules{
		prepare: func(new, old runtime.Object) {
			n := new.(*apps.Deployment)
			if old == nil {
				n.Status, n.Generation = apps.DeploymentStatus{}, 1
				podutil.DropDisabledTemplateFields(&n.Spec.Template, nil)
				return
			}
			o := old.(*apps.Deployment)
			n.Status = o.Status
			podutil.DropDisabledTemplateFields(&n.Spec.Template, &o.Spec.Template)
			if !equality.Semantic.DeepEqual(n.Spec, o.Spec) || !equality.Semantic.DeepEqual(n.Annotations, o.Annotations) {
				n.Generation = o.Generation + 1
			}
		},
		validate: validating(
			func(d *apps.Deployment) field.ErrorList {
				return appsvalidation.ValidateDeployment(d, templateOptions(&d.Spec.Template, nil))
			},
			func(n, o *apps.Deployment) field.ErrorList {
				return appsvalidation.ValidateDeploymentUpdate(n, o, templateOptions(&n.Spec.Template, &o.Spec.Template))
			}),
	}
}

func deploymentStatusRules() rules {
	return rules{
		prepare: func(new, old runtime.Object) {
			n, o := new.(*apps.Deployment), old.(*apps.Deployment)
			n.Spec, n.Labels = o.Spec, o.Labels
		},
		validate: validating(nil, appsvalidation.ValidateDeploymentStatusUpdate),
	}
}

func replicaSetRules() rules {
	return rules{
		prepare: func(new, old runtime.Object) {
			n := new.(*apps.ReplicaSet)
			if old == nil {
				n.Status, n.Generation = apps.ReplicaSetStatus{}, 1
				podutil.DropDisabledTemplateFields(&n.Spec.Template, nil)
				return
			}
			o := old.(*apps.ReplicaSet)
			n.Status = o.Status
			podutil.DropDisabledTemplateFields(&n.Spec.Template, &o.Spec.Template)
			if !equality.Semantic.DeepEqual(n.Spec, o.Spec) {
				n.Generation = o.Generation + 1
			}
		},
		validate: validating(
			func(r *apps.ReplicaSet) field.ErrorList {
				return appsvalidation.ValidateReplicaSet(r, templateOptions(&r.Spec.Template, nil))
			},
			func(n, o *apps.ReplicaSet) field.ErrorList {
				return appsvalidation.ValidateReplicaSetUpdate(n, o, templateOptions(&n.Spec.Template, &o.Spec.Template))
			}),
	}
}

func replicaSetStatusRules() rules {
	return rules{
		prepare:  func(new, old runtime.Object) { new.(*apps.ReplicaSet).Spec = old.(*apps.ReplicaSet).Spec },
		validate: validating(nil, appsvalidation.ValidateReplicaSetStatusUpdate),
	}
}

// metadata is what any server judges besides.
var metadataPath = field.NewPath("metadata")

func judgeMeta(o runtime.Object, namespaced bool, name validation.ValidateNameFunc) field.ErrorList {
	return validation.ValidateObjectMetaAccessor(mustMeta(o), namespaced, name, metadataPath)
}
