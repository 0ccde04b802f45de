package batch

import (
	"context"
	"fmt"
	"maps"
	"math"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/internal/same"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
)

// Jobs declares batch/v1 Job.
func Jobs() apimachinery.Resource {
	return apimachinery.Resource{
		Name:       schema.GroupResource{Group: batchv1.GroupName, Resource: "jobs"},
		Namespaced: true,
		New:        func() apimachinery.Object { return &batchv1.Job{} },
		Views: []apimachinery.View{{
			GroupVersionKind: batchv1.SchemeGroupVersion.WithKind("Job"),
			Plural:           "jobs", Category: []string{"all"},
			Columns: jobColumns(),
			Fields:  []apimachinery.Field{{Name: "status.successful", Paths: []string{"status.succeeded"}, Default: "0"}},
		}},
		Default: func(o apimachinery.Object) { defaultJob(o.(*batchv1.Job)) },
		Prepare: func(_ context.Context, new, old apimachinery.Object) { prepareJob(new, old) },
		Validate: func(_ context.Context, new, old apimachinery.Object) field.ErrorList {
			n := new.(*batchv1.Job)
			if old == nil {
				return append(core.ValidateFinalizers(n), validateJob(n, true)...)
			}
			o := old.(*batchv1.Job)
			errs := append(core.ValidateFinalizers(n), validateJob(n, hasPrefixedLabels(o))...)
			return append(errs, validateJobUpdate(n, o)...)
		},
		Warnings: func(new, old apimachinery.Object) []string {
			n := new.(*batchv1.Job)
			if old == nil {
				return append(nameWarnings(n), specWarnings(&n.Spec, spec)...)
			}
			if n.Generation == old.GetGeneration() {
				return nil
			}
			return specWarnings(&n.Spec, spec)
		},
		Orphans: true, OrphansWarning: "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning",
		Subs: map[string]apimachinery.Subresource{
			"status": {
				Verbs: []string{apimachinery.VerbGet, apimachinery.VerbPatch, apimachinery.VerbUpdate},
				Strategy: &apimachinery.Strategy{
					Owned: []string{"status"},
					Prepare: func(_ context.Context, new, old apimachinery.Object) {
						n, o := new.(*batchv1.Job), old.(*batchv1.Job)
						n.Spec, n.Generation = o.Spec, o.Generation
					},
					Validate: func(_ context.Context, new, old apimachinery.Object) field.ErrorList {
						return append(core.ValidateFinalizers(new), validateJobStatus(new.(*batchv1.Job), old.(*batchv1.Job))...)
					},
				},
			},
		},
	}
}

func jobColumns() []apimachinery.Column {
	columns := append([]apimachinery.Column{
		apimachinery.NameColumn(),
		apimachinery.ColumnOf("Status", "string", func(j *batchv1.Job) any { return jobState(j) }),
		apimachinery.ColumnOf("Completions", "string", func(j *batchv1.Job) any { return completionsText(j) }),
		apimachinery.ColumnOf("Duration", "string", func(j *batchv1.Job) any { return durationText(&j.Status) }),
		apimachinery.AgeColumn(),
	}, core.ContainerColumns(func(j *batchv1.Job) *corev1.PodSpec { return &j.Spec.Template.Spec })...)
	return append(columns, apimachinery.Wide(apimachinery.ColumnOf("Selector", "string", func(j *batchv1.Job) any {
		return metav1.FormatLabelSelector(j.Spec.Selector)
	})))
}

// jobState is what kubectl shows for the conditions; of two of one type the first counts.
func jobState(j *batchv1.Job) string {
	has := func(typ batchv1.JobConditionType) bool {
		for _, c := range j.Status.Conditions {
			if c.Type == typ {
				return c.Status == corev1.ConditionTrue
			}
		}
		return false
	}
	for _, typ := range []batchv1.JobConditionType{batchv1.JobComplete, batchv1.JobFailed} {
		if has(typ) {
			return string(typ)
		}
	}
	if j.DeletionTimestamp != nil {
		return "Terminating"
	}
	for _, typ := range []batchv1.JobConditionType{batchv1.JobSuspended, batchv1.JobFailureTarget, batchv1.JobSuccessCriteriaMet} {
		if has(typ) {
			return string(typ)
		}
	}
	return "Running"
}

func completionsText(j *batchv1.Job) string {
	if j.Spec.Completions != nil {
		return fmt.Sprintf("%d/%d", j.Status.Succeeded, *j.Spec.Completions)
	}
	if n := deref(j.Spec.Parallelism, 0); n > 1 {
		return fmt.Sprintf("%d/1 of %d", j.Status.Succeeded, n)
	}
	return fmt.Sprintf("%d/1", j.Status.Succeeded)
}

func durationText(s *batchv1.JobStatus) string {
	switch {
	case s.StartTime == nil:
		return ""
	case s.CompletionTime == nil:
		return duration.HumanDuration(time.Since(s.StartTime.Time))
	}
	return duration.HumanDuration(s.CompletionTime.Sub(s.StartTime.Time))
}

func defaultJob(j *batchv1.Job) {
	s := &j.Spec
	if s.Completions == nil && s.Parallelism == nil {
		core.DefaultTo(&s.Completions, 1)
	}
	core.DefaultTo(&s.Parallelism, 1)
	if s.BackoffLimitPerIndex != nil {
		core.DefaultTo(&s.BackoffLimit, math.MaxInt32)
	}
	core.DefaultTo(&s.BackoffLimit, 6)
	if s.Template.Labels != nil && len(j.Labels) == 0 {
		j.Labels = s.Template.Labels // one map: so what the selector adds to it is on the job too
	}
	core.DefaultTo(&s.CompletionMode, batchv1.NonIndexedCompletion)
	core.DefaultTo(&s.Suspend, false)
	if s.PodFailurePolicy != nil {
		core.DefaultTo(&s.PodReplacementPolicy, batchv1.Failed)
	}
	core.DefaultTo(&s.PodReplacementPolicy, batchv1.TerminatingOrFailed)
	core.DefaultTo(&s.ManualSelector, false)
	defaultJobTemplate(s)
}

// defaultJobTemplate fills in what a job and the template of one have in common.
func defaultJobTemplate(s *batchv1.JobSpec) {
	if s.PodFailurePolicy != nil {
		for i := range s.PodFailurePolicy.Rules {
			for j := range s.PodFailurePolicy.Rules[i].OnPodConditions {
				if p := &s.PodFailurePolicy.Rules[i].OnPodConditions[j]; p.Status == "" {
					p.Status = corev1.ConditionTrue
				}
			}
		}
	}
	core.DefaultPodTemplate(&s.Template)
}

var sameJobSpec = same.Func[batchv1.JobSpec]()

func prepareJob(new, old apimachinery.Object) {
	n := new.(*batchv1.Job)
	core.BlankGated(&n.Spec, "Scheduling")
	if old == nil {
		n.Status, n.Generation = batchv1.JobStatus{}, 1
		if !deref(n.Spec.ManualSelector, false) {
			generateSelector(n)
		}
		core.PrepareTemplate(&n.Spec.Template, nil)
		return
	}
	o := old.(*batchv1.Job)
	n.Status, n.Generation = o.Status, o.Generation
	core.PrepareTemplate(&n.Spec.Template, &o.Spec.Template)
	if !sameJobSpec(&n.Spec, &o.Spec) {
		n.Generation++
	}
}

// The labels by which a job knows its pods, without a prefix and with it.
const (
	oldNameLabel       = "job-name"
	oldControllerLabel = "controller-uid"
)

// generateSelector has the job select by its UID, which its template gets as a label. What the writer has set under
// these names stays, and is judged later.
func generateSelector(j *batchv1.Job) {
	s := &j.Spec
	if s.Template.Labels == nil {
		s.Template.Labels = map[string]string{}
	}
	add := func(to map[string]string, key, value string) {
		if _, ok := to[key]; !ok {
			to[key] = value
		}
	}
	add(s.Template.Labels, oldNameLabel, j.Name)
	add(s.Template.Labels, batchv1.JobNameLabel, j.Name)
	add(s.Template.Labels, oldControllerLabel, string(j.UID))
	add(s.Template.Labels, batchv1.ControllerUidLabel, string(j.UID))
	core.DefaultTo(&s.Selector, metav1.LabelSelector{})
	if s.Selector.MatchLabels == nil {
		s.Selector.MatchLabels = map[string]string{}
	}
	add(s.Selector.MatchLabels, batchv1.ControllerUidLabel, string(j.UID))
	if len(j.Labels) == 0 {
		j.Labels = maps.Clone(s.Template.Labels) // as the defaults have it once there are some
	}
}

func hasPrefixedLabels(j *batchv1.Job) bool {
	_, name := j.Spec.Template.Labels[batchv1.JobNameLabel]
	_, uid := j.Spec.Template.Labels[batchv1.ControllerUidLabel]
	return name && uid
}
