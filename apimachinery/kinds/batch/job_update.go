package batch

import (
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery/internal/same"
)

func validateJobUpdate(n, o *batchv1.Job) field.ErrorList {
	errs := validateCompletions(&n.Spec, &o.Spec)
	errs = append(errs, validation.ValidateImmutableField(n.Spec.Selector, o.Spec.Selector, spec.Child("selector"))...)
	errs = append(errs, validateTemplateUpdate(n, o)...)
	errs = append(errs, validation.ValidateImmutableField(n.Spec.CompletionMode, o.Spec.CompletionMode, spec.Child("completionMode"))...)
	errs = append(errs, validation.ValidateImmutableField(n.Spec.PodFailurePolicy, o.Spec.PodFailurePolicy, spec.Child("podFailurePolicy"))...)
	errs = append(errs, validation.ValidateImmutableField(n.Spec.BackoffLimitPerIndex, o.Spec.BackoffLimitPerIndex, spec.Child("backoffLimitPerIndex"))...)
	errs = append(errs, validation.ValidateImmutableField(n.Spec.ManagedBy, o.Spec.ManagedBy, spec.Child("managedBy"))...)
	return append(errs, validation.ValidateImmutableField(n.Spec.SuccessPolicy, o.Spec.SuccessPolicy, spec.Child("successPolicy"))...)
}

// validateCompletions lets an indexed job alone grow or shrink, and its parallelism with it.
func validateCompletions(n, o *batchv1.JobSpec) field.ErrorList {
	path := spec.Child("completions")
	if !indexed(n) {
		return validation.ValidateImmutableField(n.Completions, o.Completions, path)
	}
	if n.Completions == nil || o.Completions != nil && *n.Completions == *o.Completions {
		return nil
	}
	if n.Parallelism == nil || *n.Completions != *n.Parallelism {
		return field.ErrorList{field.Invalid(path, n.Completions, "can only be modified in tandem with spec.parallelism")}
	}
	return nil
}

var (
	sameTemplate = same.Func[corev1.PodTemplateSpec]()
	samePodSpec  = same.Func[corev1.PodSpec]()
)

// validateTemplateUpdate refuses changes of the template, but of a suspended job without pods: that may be put
// elsewhere, and given other resources (KEP-2926, KEP-5440).
func validateTemplateUpdate(n, o *batchv1.Job) field.ErrorList {
	path := spec.Child("template")
	if !idle(o) {
		if !sameTemplate(&n.Spec.Template, &o.Spec.Template) {
			return field.ErrorList{field.Invalid(path, n.Spec.Template, validation.FieldImmutableErrorMsg)}
		}
		return nil
	}
	fixed := o.Spec.Template.Spec.DeepCopy()
	takePlacement(fixed, &n.Spec.Template.Spec)
	takeResources(fixed.Containers, n.Spec.Template.Spec.Containers)
	takeResources(fixed.InitContainers, n.Spec.Template.Spec.InitContainers)
	if !samePodSpec(&n.Spec.Template.Spec, fixed) {
		return field.ErrorList{field.Invalid(path.Child("spec"), n.Spec.Template.Spec, validation.FieldImmutableErrorMsg)}
	}
	return nil
}

// idle says whether a job is suspended and has no pods.
func idle(j *batchv1.Job) bool {
	return deref(j.Spec.Suspend, false) && (j.Status.StartTime == nil || isTrue(j.Status.Conditions, batchv1.JobSuspended)) && j.Status.Active == 0
}

// takePlacement gives old what of new says where pods go, but for the other pods that they want near or far.
func takePlacement(old, new *corev1.PodSpec) {
	old.NodeSelector, old.Tolerations, old.SchedulingGates = new.NodeSelector, new.Tolerations, new.SchedulingGates
	if old.Affinity == nil && new.Affinity == nil {
		return
	}
	had := old.Affinity != nil
	if !had {
		old.Affinity = &corev1.Affinity{}
	}
	old.Affinity.NodeAffinity = nil
	if new.Affinity != nil {
		old.Affinity.NodeAffinity = new.Affinity.NodeAffinity
		return
	}
	if had && *old.Affinity == (corev1.Affinity{}) {
		old.Affinity = nil
	}
}

// takeResources gives the containers of old the resources of those of new, where names and number are the same.
func takeResources(old, new []corev1.Container) {
	if len(old) != len(new) {
		return
	}
	for i := range old {
		if old[i].Name == new[i].Name {
			old[i].Resources = new[i].Resources
		}
	}
}
