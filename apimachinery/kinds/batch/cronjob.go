package batch

import (
	"context"
	"strconv"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/internal/same"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
)

// longestCronJob is the length of a name to which the controller can add a time, for names of jobs.
const longestCronJob = 63 - 11

// CronJobs declares batch/v1 CronJob.
func CronJobs() apimachinery.Resource {
	return apimachinery.Resource{
		Name:       schema.GroupResource{Group: batchv1.GroupName, Resource: "cronjobs"},
		Namespaced: true,
		New:        func() apimachinery.Object { return &batchv1.CronJob{} },
		Views: []apimachinery.View{{
			GroupVersionKind: batchv1.SchemeGroupVersion.WithKind("CronJob"),
			Plural:           "cronjobs", Short: []string{"cj"}, Category: []string{"all"},
			Columns: cronJobColumns(),
		}},
		Default: func(o apimachinery.Object) { defaultCronJob(&o.(*batchv1.CronJob).Spec) },
		Prepare: func(_ context.Context, new, old apimachinery.Object) { prepareCronJob(new, old) },
		Validate: func(_ context.Context, new, old apimachinery.Object) field.ErrorList {
			n := new.(*batchv1.CronJob)
			if old != nil {
				return append(core.ValidateFinalizers(n), validateCronJob(&n.Spec, &old.(*batchv1.CronJob).Spec)...)
			}
			errs := append(core.ValidateFinalizers(n), validateCronJob(&n.Spec, nil)...)
			if len(n.Name) > longestCronJob {
				errs = append(errs, field.Invalid(name, n.Name, "must be no more than "+strconv.Itoa(longestCronJob)+" characters"))
			}
			return errs
		},
		Warnings: func(new, old apimachinery.Object) []string { return cronJobWarnings(new.(*batchv1.CronJob), old) },
		Subs: map[string]apimachinery.Subresource{
			"status": {
				Verbs: []string{apimachinery.VerbGet, apimachinery.VerbPatch, apimachinery.VerbUpdate},
				Strategy: &apimachinery.Strategy{
					Owned: []string{"status"},
					Prepare: func(_ context.Context, new, old apimachinery.Object) {
						n, o := new.(*batchv1.CronJob), old.(*batchv1.CronJob)
						n.Spec, n.Generation = o.Spec, o.Generation
					},
				},
			},
		},
	}
}

func cronJobColumns() []apimachinery.Column {
	columns := append([]apimachinery.Column{
		apimachinery.NameColumn(),
		apimachinery.ColumnOf("Schedule", "string", func(c *batchv1.CronJob) any { return c.Spec.Schedule }),
		apimachinery.ColumnOf("Timezone", "string", func(c *batchv1.CronJob) any { return deref(c.Spec.TimeZone, "<none>") }),
		apimachinery.ColumnOf("Suspend", "boolean", func(c *batchv1.CronJob) any { return suspendText(c.Spec.Suspend) }),
		apimachinery.ColumnOf("Active", "integer", func(c *batchv1.CronJob) any { return int64(len(c.Status.Active)) }),
		apimachinery.ColumnOf("Last Schedule", "string", func(c *batchv1.CronJob) any {
			if c.Status.LastScheduleTime == nil {
				return "<none>"
			}
			return apimachinery.Age(*c.Status.LastScheduleTime)
		}),
		apimachinery.AgeColumn(),
	}, core.ContainerColumns(func(c *batchv1.CronJob) *corev1.PodSpec { return &c.Spec.JobTemplate.Spec.Template.Spec })...)
	return append(columns, apimachinery.Wide(apimachinery.ColumnOf("Selector", "string", func(c *batchv1.CronJob) any {
		return metav1.FormatLabelSelector(c.Spec.JobTemplate.Spec.Selector)
	})))
}

// suspendText is a boolean in words: so Kubernetes shows it.
func suspendText(b *bool) string {
	switch {
	case b == nil:
		return "<unset>"
	case *b:
		return "True"
	}
	return "False"
}

func defaultCronJob(s *batchv1.CronJobSpec) {
	if s.ConcurrencyPolicy == "" {
		s.ConcurrencyPolicy = batchv1.AllowConcurrent
	}
	core.DefaultTo(&s.Suspend, false)
	core.DefaultTo(&s.SuccessfulJobsHistoryLimit, 3)
	core.DefaultTo(&s.FailedJobsHistoryLimit, 1)
	defaultJobTemplate(&s.JobTemplate.Spec)
}

var sameCronJobSpec = same.Func[batchv1.CronJobSpec]()

func prepareCronJob(new, old apimachinery.Object) {
	n := new.(*batchv1.CronJob)
	template := &n.Spec.JobTemplate.Spec
	core.BlankGated(template, "Scheduling")
	if old == nil {
		n.Status, n.Generation = batchv1.CronJobStatus{}, 1
		core.PrepareTemplate(&template.Template, nil)
		return
	}
	o := old.(*batchv1.CronJob)
	n.Status, n.Generation = o.Status, o.Generation
	core.PrepareTemplate(&template.Template, &o.Spec.JobTemplate.Spec.Template)
	if !sameCronJobSpec(&n.Spec, &o.Spec) {
		n.Generation++
	}
}

func cronJobWarnings(n *batchv1.CronJob, old apimachinery.Object) []string {
	path := spec.Child("jobTemplate", "spec")
	if old == nil {
		return append(nameWarnings(n), specWarnings(&n.Spec.JobTemplate.Spec, path)...)
	}
	var out []string
	if n.Generation != old.GetGeneration() {
		out = specWarnings(&n.Spec.JobTemplate.Spec, path)
	}
	if strings.Contains(n.Spec.Schedule, "TZ") {
		out = append(out, "cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, "+ // as Kubernetes words it
			"see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details")
	}
	return out
}

// validateCronJob judges a spec; old is nil on create.
func validateCronJob(s, old *batchv1.CronJobSpec) field.ErrorList {
	var errs field.ErrorList
	if s.Schedule == "" {
		errs = append(errs, field.Required(spec.Child("schedule"), ""))
	} else {
		errs = append(errs, validateSchedule(s, old != nil && strings.Contains(old.Schedule, "TZ"))...)
	}
	errs = append(errs, notNegative(s.StartingDeadlineSeconds, spec.Child("startingDeadlineSeconds"))...)
	if old == nil || !equal(old.TimeZone, s.TimeZone) {
		errs = append(errs, validateTimeZone(s.TimeZone, spec.Child("timeZone"))...)
	}
	if path := spec.Child("concurrencyPolicy"); s.ConcurrencyPolicy == "" {
		errs = append(errs, field.Required(path, ""))
	} else {
		errs = append(errs, oneOf(path, s.ConcurrencyPolicy, batchv1.AllowConcurrent, batchv1.ForbidConcurrent, batchv1.ReplaceConcurrent)...)
	}
	job := &s.JobTemplate.Spec
	template := spec.Child("jobTemplate", "spec")
	errs = append(errs, validateJobSpec(job, template)...)
	if job.Selector != nil {
		errs = append(errs, field.Invalid(template.Child("selector"), job.Selector, "`selector` will be auto-generated"))
	}
	if deref(job.ManualSelector, false) {
		errs = append(errs, field.NotSupported(template.Child("manualSelector"), job.ManualSelector, []string{"nil", "false"}))
	}
	errs = append(errs, notNegative(s.SuccessfulJobsHistoryLimit, spec.Child("successfulJobsHistoryLimit"))...)
	return append(errs, notNegative(s.FailedJobsHistoryLimit, spec.Child("failedJobsHistoryLimit"))...)
}

// validateSchedule judges a schedule. A time zone in it is a thing of the past, which those that have one may keep.
func validateSchedule(s *batchv1.CronJobSpec, keeps bool) field.ErrorList {
	path := spec.Child("schedule")
	var errs field.ErrorList
	if err := checkSchedule(s.Schedule); err != nil {
		errs = append(errs, field.Invalid(path, s.Schedule, err.Error()))
	}
	switch zoned := strings.Contains(s.Schedule, "TZ"); {
	case zoned && keeps && s.TimeZone != nil:
		errs = append(errs, field.Invalid(path, s.Schedule, "cannot use both timeZone field and TZ or CRON_TZ in schedule"))
	case zoned && !keeps:
		errs = append(errs, field.Invalid(path, s.Schedule, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"))
	}
	return errs
}
