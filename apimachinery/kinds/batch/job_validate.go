package batch

import (
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/labels"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery/kinds/core"
)

const (
	mostParallel      = 100_000 // pods of an indexed job at once
	mostFailedIndexes = 100_000
	manyCompletions   = 100_000 // from here on, with a limit per index, the next two hold
	fewerParallel     = 10_000
	fewerFailed       = 10_000
	mostManagedBy     = 63 // bytes
)

// validateJob judges a job; prefixed says whether its template must have the labels with a prefix, which those made by
// old releases have not.
func validateJob(j *batchv1.Job, prefixed bool) field.ErrorList {
	s := &j.Spec
	errs := validateGeneratedSelector(j, prefixed)
	errs = append(errs, validateJobSpec(s, spec)...)
	path := spec.Child("selector")
	if s.Selector == nil {
		errs = append(errs, field.Required(path, ""))
	} else {
		errs = append(errs, metavalidation.ValidateLabelSelector(s.Selector, metavalidation.LabelSelectorValidationOptions{}, path)...)
	}
	if selector, err := metav1.LabelSelectorAsSelector(s.Selector); err == nil && !selector.Matches(labels.Set(s.Template.Labels)) {
		errs = append(errs, field.Invalid(spec.Child("template", "metadata", "labels"), s.Template.Labels, "`selector` does not match template `labels`"))
	}
	if n := deref(s.Completions, 0); indexed(s) && n > 0 {
		host := fmt.Sprintf("%s-%d", j.Name, n-1)
		if len(utilvalidation.IsDNS1123Label(host)) > 0 {
			errs = append(errs, field.Invalid(name, j.Name, "will not able to create pod with invalid DNS label: "+host))
		}
	}
	return errs
}

// validateGeneratedSelector sees to it that a job which didn't ask for a selector of its own selects by its UID.
func validateGeneratedSelector(j *batchv1.Job, prefixed bool) field.ErrorList {
	if deref(j.Spec.ManualSelector, false) || j.Spec.Selector == nil {
		return nil
	}
	var errs field.ErrorList
	if j.UID == "" {
		errs = append(errs, field.Required(field.NewPath("metadata", "uid"), ""))
	}
	expected := labels.Set{}
	expect := func(key, value string) {
		expected[key] = value
		path := spec.Child("template", "metadata", "labels").Key(key)
		if have, ok := j.Spec.Template.Labels[key]; !ok {
			errs = append(errs, field.Required(path, fmt.Sprintf("must be '%s'", value)))
		} else if have != value {
			errs = append(errs, field.Invalid(path, j.Spec.Template.Labels, fmt.Sprintf("must be '%s'", value)))
		}
	}
	expect(oldControllerLabel, string(j.UID))
	expect(oldNameLabel, j.Name)
	if prefixed {
		expect(batchv1.ControllerUidLabel, string(j.UID))
		expect(batchv1.JobNameLabel, j.Name)
	}
	if selector, err := metav1.LabelSelectorAsSelector(j.Spec.Selector); err == nil && !selector.Matches(expected) {
		errs = append(errs, field.Invalid(spec.Child("selector"), j.Spec.Selector, "`selector` not auto-generated"))
	}
	return errs
}

// validateJobSpec judges what a job and the template of one have in common; path is where it stands.
func validateJobSpec(s *batchv1.JobSpec, path *field.Path) field.ErrorList {
	errs := notNegative(s.Parallelism, path.Child("parallelism"))
	errs = append(errs, notNegative(s.Completions, path.Child("completions"))...)
	errs = append(errs, notNegative(s.ActiveDeadlineSeconds, path.Child("activeDeadlineSeconds"))...)
	errs = append(errs, notNegative(s.BackoffLimit, path.Child("backoffLimit"))...)
	errs = append(errs, notNegative(s.TTLSecondsAfterFinished, path.Child("ttlSecondsAfterFinished"))...)
	errs = append(errs, notNegative(s.BackoffLimitPerIndex, path.Child("backoffLimitPerIndex"))...)
	errs = append(errs, notNegative(s.MaxFailedIndexes, path.Child("maxFailedIndexes"))...)
	if s.MaxFailedIndexes != nil && s.BackoffLimitPerIndex == nil {
		errs = append(errs, field.Required(path.Child("backoffLimitPerIndex"), "when maxFailedIndexes is specified"))
	}
	if s.ManagedBy != nil {
		at := path.Child("managedBy")
		errs = append(errs, utilvalidation.IsDomainPrefixedPath(at, *s.ManagedBy)...)
		if len(*s.ManagedBy) > mostManagedBy {
			errs = append(errs, field.TooLong(at, "", mostManagedBy))
		}
	}
	errs = append(errs, validateMode(s, path)...)
	if s.PodFailurePolicy != nil {
		errs = append(errs, validateFailurePolicy(s, path.Child("podFailurePolicy"))...)
	}
	if s.SuccessPolicy != nil {
		errs = append(errs, validateSuccessPolicy(s, path.Child("successPolicy"))...)
	}
	errs = append(errs, validateReplacement(s, path.Child("podReplacementPolicy"))...)
	errs = append(errs, core.ValidatePodTemplate(&s.Template, path.Child("template"))...)
	return append(errs, validateRestart(s, path.Child("template", "spec", "restartPolicy"))...)
}

// validateMode judges the completion mode, and what only one mode may have.
func validateMode(s *batchv1.JobSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	switch deref(s.CompletionMode, batchv1.NonIndexedCompletion) {
	case batchv1.IndexedCompletion:
		return validateIndexed(s, path)
	case batchv1.NonIndexedCompletion:
		if s.BackoffLimitPerIndex != nil {
			errs = append(errs, field.Invalid(path.Child("backoffLimitPerIndex"), *s.BackoffLimitPerIndex, "requires indexed completion mode"))
		}
		if s.MaxFailedIndexes != nil {
			errs = append(errs, field.Invalid(path.Child("maxFailedIndexes"), *s.MaxFailedIndexes, "requires indexed completion mode"))
		}
		return errs
	}
	return field.ErrorList{field.NotSupported(path.Child("completionMode"), *s.CompletionMode, []batchv1.CompletionMode{batchv1.NonIndexedCompletion, batchv1.IndexedCompletion})}
}

func validateIndexed(s *batchv1.JobSpec, path *field.Path) field.ErrorList {
	parallelism, failed := path.Child("parallelism"), path.Child("maxFailedIndexes")
	var errs field.ErrorList
	most := func(n *int32, most int32, at *field.Path, why string) {
		if n != nil && *n > most {
			errs = append(errs, field.Invalid(at, *n, "must be less than or equal to "+why))
		}
	}
	if s.Completions == nil {
		errs = append(errs, field.Required(path.Child("completions"), fmt.Sprintf("when completion mode is %s", batchv1.IndexedCompletion)))
	}
	most(s.Parallelism, mostParallel, parallelism, fmt.Sprintf("%d when completion mode is %s", mostParallel, batchv1.IndexedCompletion))
	if s.Completions != nil {
		most(s.MaxFailedIndexes, *s.Completions, failed, "completions")
	}
	most(s.MaxFailedIndexes, mostFailedIndexes, failed, fmt.Sprint(mostFailedIndexes))
	if deref(s.Completions, 0) <= manyCompletions || s.BackoffLimitPerIndex == nil {
		return errs
	}
	if s.MaxFailedIndexes == nil {
		errs = append(errs, field.Required(failed, fmt.Sprintf("must be specified when completions is above %d", manyCompletions)))
	}
	with := fmt.Sprintf("when completions are above %d and used with backoff limit per index", manyCompletions)
	most(s.Parallelism, fewerParallel, parallelism, fmt.Sprintf("%d %s", fewerParallel, with))
	most(s.MaxFailedIndexes, fewerFailed, failed, fmt.Sprintf("%d %s", fewerFailed, with))
	return errs
}

// validateReplacement judges when pods are replaced: with a failure policy, once they have failed.
func validateReplacement(s *batchv1.JobSpec, path *field.Path) field.ErrorList {
	supported := []batchv1.PodReplacementPolicy{batchv1.Failed, batchv1.TerminatingOrFailed}
	if s.PodFailurePolicy != nil {
		supported = supported[:1]
	}
	if s.PodReplacementPolicy == nil {
		return nil
	}
	return oneOf(path, *s.PodReplacementPolicy, supported...)
}

// validateRestart refuses pods that run for ever.
func validateRestart(s *batchv1.JobSpec, path *field.Path) field.ErrorList {
	switch p := s.Template.Spec.RestartPolicy; {
	case p == "" || p == corev1.RestartPolicyAlways:
		return field.ErrorList{field.Required(path, fmt.Sprintf("valid values: %q, %q", corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever))}
	case p != corev1.RestartPolicyOnFailure && p != corev1.RestartPolicyNever:
		return oneOf(path, p, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever)
	case s.PodFailurePolicy != nil && p != corev1.RestartPolicyNever:
		return field.ErrorList{field.Invalid(path, p, fmt.Sprintf("only %q is supported when podFailurePolicy is specified", corev1.RestartPolicyNever))}
	}
	return nil
}
