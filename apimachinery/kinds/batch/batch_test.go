package batch_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/apimachinery/client/clienttest"
	"github.com/bedplate/bedplate/apimachinery/kinds/batch"
)

func ptr[T any](v T) *T { return &v }

func spec() batchv1.JobSpec {
	return batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
		RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "c", Image: "busybox"}},
	}}}
}

func job(name string) *batchv1.Job {
	return &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: spec()}
}

func start(t clienttest.TB) *client.Client {
	return clienttest.Start(t, clienttest.Config{Resources: batch.Resources()}).Client
}

func TestJob(t *testing.T) {
	c := client.For[*batchv1.Job](start(t))
	j, err := c.Create(t.Context(), job("pi"))
	require.NoError(t, err)
	require.EqualValues(t, 1, *j.Spec.Completions)
	require.EqualValues(t, 6, *j.Spec.BackoffLimit)
	require.Equal(t, string(j.UID), j.Spec.Selector.MatchLabels[batchv1.ControllerUidLabel])
	require.Equal(t, map[string]string{
		"job-name": "pi", batchv1.JobNameLabel: "pi", "controller-uid": string(j.UID), batchv1.ControllerUidLabel: string(j.UID),
	}, j.Spec.Template.Labels)
	require.Equal(t, j.Spec.Template.Labels, j.Labels)

	wrong := j.DeepCopy()
	wrong.Spec.Template.Spec.Containers[0].Image = "other"
	wrong.Spec.Completions = ptr(int32(2))
	_, err = c.Update(t.Context(), wrong)
	require.True(t, apierrors.IsInvalid(err), "%v", err)
	require.ErrorContains(t, err, "spec.template: Invalid value")
	require.ErrorContains(t, err, "spec.completions: Invalid value: 2: field is immutable")
	j.Spec.Suspend = ptr(true)
	j, err = c.Update(t.Context(), j)
	require.NoError(t, err)
	require.EqualValues(t, 2, j.Generation)
	j.Spec.Template.Spec.NodeSelector = map[string]string{"disk": "ssd"}
	j.Spec.Template.Spec.Containers[0].Resources.Requests = corev1.ResourceList{}
	j, err = c.Update(t.Context(), j)
	require.NoError(t, err, "it has not begun")

	j.Status.Succeeded = 1
	j.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobComplete, Status: corev1.ConditionTrue}}
	_, err = c.UpdateStatus(t.Context(), j)
	require.ErrorContains(t, err, "cannot set Complete=True condition without the SuccessCriteriaMet=true condition")
	require.ErrorContains(t, err, "status.completionTime: Required value")
	j.Status.Conditions = nil
	_, err = c.UpdateStatus(t.Context(), j)
	require.NoError(t, err)
	_, err = c.Create(t.Context(), job("e"))
	require.NoError(t, err)
	found, err := c.List(t.Context(), client.InNamespace("default"), client.Fields("status.successful=1"))
	require.NoError(t, err)
	require.Len(t, found.Items, 1)
}

// TestOrphans: a job that is deleted without a word about its pods leaves them.
func TestOrphans(t *testing.T) {
	c := client.For[*batchv1.Job](start(t))
	_, err := c.Create(t.Context(), job("a"))
	require.NoError(t, err)
	require.NoError(t, c.Delete(t.Context(), "default", "a"))
	j, err := c.Get(t.Context(), "default", "a")
	require.NoError(t, err)
	require.Equal(t, []string{metav1.FinalizerOrphanDependents}, j.Finalizers)
}

func TestJobValidation(t *testing.T) {
	for want, change := range map[string]func(*batchv1.JobSpec){
		"spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\"": func(s *batchv1.JobSpec) { s.Template.Spec.RestartPolicy = "Always" },
		"spec.completions: Required value: when completion mode is Indexed": func(s *batchv1.JobSpec) {
			s.CompletionMode, s.Parallelism = ptr(batchv1.IndexedCompletion), ptr(int32(2))
		},
		"spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode": func(s *batchv1.JobSpec) { s.BackoffLimitPerIndex = ptr(int32(1)) },
		"spec.successPolicy: Invalid value":                                             func(s *batchv1.JobSpec) { s.SuccessPolicy = &batchv1.SuccessPolicy{} },
		"error parsing succeededIndexes: too large index: \"7\"": func(s *batchv1.JobSpec) {
			s.CompletionMode, s.Completions = ptr(batchv1.IndexedCompletion), ptr(int32(3))
			s.SuccessPolicy = &batchv1.SuccessPolicy{Rules: []batchv1.SuccessPolicyRule{{SucceededIndexes: ptr("0-1,7")}}}
		},
		"spec.podFailurePolicy.rules[0]: Invalid value: specifying one of OnExitCodes and OnPodConditions is required": func(s *batchv1.JobSpec) {
			s.PodFailurePolicy = &batchv1.PodFailurePolicy{Rules: []batchv1.PodFailurePolicyRule{{Action: "Ignore"}}}
		},
		"spec.managedBy: Invalid value: \"me\"":                                    func(s *batchv1.JobSpec) { s.ManagedBy = ptr("me") },
		"spec.podReplacementPolicy: Unsupported value: \"Never\"":                  func(s *batchv1.JobSpec) { s.PodReplacementPolicy = ptr(batchv1.PodReplacementPolicy("Never")) },
		"metadata.name: Invalid value: \"j\": will not able to create pod":         nil,
		"spec.template.metadata.labels[job-name]: Invalid value":                   func(s *batchv1.JobSpec) { s.Template.Labels = map[string]string{"job-name": "x"} },
		"spec.selector: Invalid value: {\"matchLabels\":{\"a\":\"b\",\"batch.kube": func(s *batchv1.JobSpec) { s.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}} },
	} {
		r, j := batch.Jobs(), job("j")
		j.UID = "u"
		if change == nil {
			j.Name = strings.Repeat("j", 62)
			want = strings.Replace(want, `"j"`, `"`+j.Name+`"`, 1)
			change = func(s *batchv1.JobSpec) {
				s.CompletionMode, s.Completions = ptr(batchv1.IndexedCompletion), ptr(int32(11))
			}
		}
		change(&j.Spec)
		r.Default(j)
		r.Prepare(context.Background(), j, nil)
		require.ErrorContains(t, r.Validate(context.Background(), j, nil).ToAggregate(), want)
	}
}

func TestCronJob(t *testing.T) {
	c := client.For[*batchv1.CronJob](start(t))
	cron := func(schedule, zone string) *batchv1.CronJob {
		cj := &batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{Namespace: "default", GenerateName: "c-"}}
		cj.Spec = batchv1.CronJobSpec{Schedule: schedule, JobTemplate: batchv1.JobTemplateSpec{Spec: spec()}}
		if zone != "" {
			cj.Spec.TimeZone = &zone
		}
		return cj
	}
	for _, schedule := range []string{"* * * * *", "*/5 0-23/2 1,15 jan-DEC mon-FRI", "? ? ? ? ?", "@hourly", "@every 1h30m", "3/2 * * * *", "+5 007 * * *"} {
		made, err := c.Create(t.Context(), cron(schedule, "Europe/Berlin"))
		require.NoError(t, err, schedule)
		require.Equal(t, batchv1.AllowConcurrent, made.Spec.ConcurrencyPolicy)
		require.EqualValues(t, 3, *made.Spec.SuccessfulJobsHistoryLimit)
	}
	for _, schedule := range []string{"* * * *", "60 * * * *", "* * 0 * *", "5-1 * * * *", "*/0 * * * *", "1-2-3 * * * *", "1/2/3 * * * *", "-1 * * * *", "x * * * *", "* * * foo *", "@never", "@every x", "TZ=UTC", "TZ=UTC * * * * *", "TZ=No/Where * * * * *"} {
		_, err := c.Create(t.Context(), cron(schedule, ""))
		require.ErrorContains(t, err, "spec.schedule: Invalid value", schedule)
	}
	for _, zone := range []string{"Local", "No/Where", "../etc", "-x", "a//b", strings.Repeat("a", 15)} {
		_, err := c.Create(t.Context(), cron("@daily", zone))
		require.ErrorContains(t, err, "spec.timeZone: Invalid value", zone)
	}
	long := cron("@daily", "")
	long.Name = strings.Repeat("c", 53)
	_, err := c.Create(t.Context(), long)
	require.ErrorContains(t, err, "must be no more than 52 characters")
}

func TestColumns(t *testing.T) {
	j := job("pi")
	j.Spec.Completions, j.Status.Succeeded = ptr(int32(4)), 1
	var cells []any
	for _, c := range batch.Jobs().Views[0].Columns {
		cells = append(cells, c.Cell(j))
	}
	require.Equal(t, []any{"pi", "Running", "1/4", "", "<unknown>", "c", "busybox", "<none>"}, cells)
	cells = nil
	for _, c := range batch.CronJobs().Views[0].Columns {
		cells = append(cells, c.Cell(&batchv1.CronJob{Spec: batchv1.CronJobSpec{Schedule: "@daily", Suspend: ptr(true)}}))
	}
	require.Equal(t, []any{"", "@daily", "<none>", "True", int64(0), "<none>", "<unknown>", "", "", "<none>"}, cells)
}

func TestWarnings(t *testing.T) {
	j := job("not.a.label")
	j.Spec.CompletionMode, j.Spec.Completions, j.Spec.Parallelism = ptr(batchv1.IndexedCompletion), ptr(int32(100_001)), ptr(int32(10_001))
	warnings := batch.Jobs().Warnings(j, nil)
	require.Len(t, warnings, 2)
	require.Contains(t, warnings[0], "a DNS label is recommended")
	require.Contains(t, warnings[1], "spec: In Indexed Jobs")
	require.Empty(t, batch.Jobs().Warnings(j, j))
	old := &batchv1.CronJob{Spec: batchv1.CronJobSpec{Schedule: "TZ=UTC @daily"}}
	require.Len(t, batch.CronJobs().Warnings(old, old), 1)
}

// A job selects its pods by its own UID, unless it says otherwise.
func Example() {
	r, j := batch.Jobs(), job("pi")
	j.UID = "8a1"
	r.Default(j)
	r.Prepare(context.Background(), j, nil)
	fmt.Println(metav1.FormatLabelSelector(j.Spec.Selector))
	fmt.Println(j.Spec.Template.Labels["job-name"])
	fmt.Println(r.Validate(context.Background(), j, nil).ToAggregate())
	// Output:
	// batch.kubernetes.io/controller-uid=8a1
	// pi
	// <nil>
}
