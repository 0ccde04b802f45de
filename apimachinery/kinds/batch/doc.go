// Package batch declares the kinds of batch/v1, Job and CronJob, with defaults, validation, columns and status as
// Kubernetes v1.37 has them.
package batch

import (
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
)

// Resources returns every kind of this package.
func Resources() []apimachinery.Resource {
	return []apimachinery.Resource{Jobs(), CronJobs()}
}

var (
	spec   = field.NewPath("spec")
	status = field.NewPath("status")
	name   = field.NewPath("metadata", "name")
)

// notNegative judges a number that may be missing.
func notNegative[N int32 | int64](n *N, path *field.Path) field.ErrorList {
	if n == nil {
		return nil
	}
	return validation.ValidateNonnegativeField(int64(*n), path)
}

func deref[T any](p *T, missing T) T {
	if p == nil {
		return missing
	}
	return *p
}

func indexed(s *batchv1.JobSpec) bool {
	return deref(s.CompletionMode, batchv1.NonIndexedCompletion) == batchv1.IndexedCompletion
}

// is says whether a condition has a status.
func is(conditions []batchv1.JobCondition, typ batchv1.JobConditionType, want corev1.ConditionStatus) bool {
	for _, c := range conditions {
		if c.Type == typ && c.Status == want {
			return true
		}
	}
	return false
}

func isTrue(conditions []batchv1.JobCondition, typ batchv1.JobConditionType) bool {
	return is(conditions, typ, corev1.ConditionTrue)
}

// nameWarnings tell of names that make no good names of pods.
func nameWarnings(o apimachinery.Object) []string {
	msgs := utilvalidation.IsDNS1123Label(o.GetName())
	if len(msgs) == 0 {
		return nil
	}
	return []string{"metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; " +
		"a DNS label is recommended: [" + strings.Join(msgs, " ") + "]"}
}

// specWarnings tell of a spec that is more than the job controller can keep account of, and of its template.
func specWarnings(s *batchv1.JobSpec, path *field.Path) []string {
	out := core.PodTemplateWarnings(&s.Template, path.Child("template"))
	const completions, parallelism = 100_000, 10_000
	if !indexed(s) || deref(s.Completions, 0) <= completions || deref(s.Parallelism, 0) <= parallelism {
		return out
	}
	return append(out, path.String()+": In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, "+
		"Kubernetes might not be able to track completedIndexes when a big number of indexes fail")
}
