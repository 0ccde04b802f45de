package batch

import (
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// statusUpdate judges a job's status against that which was there. Most rules hold only where what they are about has
// changed (KEP-4368): a spec that has just changed may disagree with the status for a while.
type statusUpdate struct {
	spec *batchv1.JobSpec
	n, o *batchv1.JobStatus
	errs field.ErrorList

	// of the new status
	complete, failed, criteria, target bool
	// since the old one
	completeChanged, failedChanged, criteriaChanged, targetChanged, finishedChanged bool
}

func validateJobStatus(n, o *batchv1.Job) field.ErrorList {
	u := &statusUpdate{spec: &n.Spec, n: &n.Status, o: &o.Status}
	u.complete, u.completeChanged = u.condition(batchv1.JobComplete)
	u.failed, u.failedChanged = u.condition(batchv1.JobFailed)
	u.criteria, u.criteriaChanged = u.condition(batchv1.JobSuccessCriteriaMet)
	u.target, u.targetChanged = u.condition(batchv1.JobFailureTarget)
	u.finishedChanged = u.finished() != (isTrue(o.Status.Conditions, batchv1.JobComplete) || isTrue(o.Status.Conditions, batchv1.JobFailed))
	u.counts()
	u.uncounted()
	u.conditions()
	u.times()
	u.pods()
	u.indexes()
	u.terminal()
	return u.errs
}

// condition says whether a condition is true now, and whether that is new.
func (u *statusUpdate) condition(typ batchv1.JobConditionType) (now, changed bool) {
	now = isTrue(u.n.Conditions, typ)
	return now, now != isTrue(u.o.Conditions, typ)
}

func (u *statusUpdate) finished() bool { return u.complete || u.failed }

func (u *statusUpdate) invalid(wrong bool, name string, value any, message string) {
	if wrong {
		u.errs = append(u.errs, field.Invalid(status.Child(name), value, message))
	}
}

func (u *statusUpdate) condemn(wrong bool, message string) {
	u.invalid(wrong, "conditions", field.OmitValueType{}, message)
}

func (u *statusUpdate) counts() {
	for _, c := range []struct {
		name string
		n    *int32
	}{{"active", &u.n.Active}, {"succeeded", &u.n.Succeeded}, {"failed", &u.n.Failed}, {"ready", u.n.Ready}, {"terminating", u.n.Terminating}} {
		u.errs = append(u.errs, notNegative(c.n, status.Child(c.name))...)
	}
	u.invalid(u.n.Failed < u.o.Failed, "failed", u.n.Failed, "cannot decrease the failed counter")
	shrinks := indexed(u.spec) && equal(u.spec.Completions, u.spec.Parallelism)
	u.invalid(!shrinks && u.n.Succeeded < u.o.Succeeded, "succeeded", u.n.Succeeded, "cannot decrease the succeeded counter")
}

func (u *statusUpdate) uncounted() {
	if u.n.UncountedTerminatedPods == nil {
		return
	}
	path, seen := status.Child("uncountedTerminatedPods"), map[types.UID]bool{}
	check := func(list []types.UID, at *field.Path) {
		for i, id := range list {
			switch {
			case id == "":
				u.errs = append(u.errs, field.Invalid(at.Index(i), id, "must not be empty"))
			case seen[id]:
				u.errs = append(u.errs, field.Duplicate(at.Index(i), id))
			}
			seen[id] = true
		}
	}
	check(u.n.UncountedTerminatedPods.Succeeded, path.Child("succeeded"))
	check(u.n.UncountedTerminatedPods.Failed, path.Child("failed"))
}

// conditions judges which conditions go together.
func (u *statusUpdate) conditions() {
	u.condemn((u.completeChanged || u.failedChanged) && u.complete && u.failed, "cannot set Complete=True and Failed=true conditions")
	u.condemn((u.completeChanged || u.targetChanged) && u.complete && u.target, "cannot set Complete=True and FailureTarget=true conditions")
	u.condemn((u.failedChanged || u.failedIndexesChanged()) && u.failed && !u.target, "cannot set Failed=True condition without the FailureTarget=true condition")
	u.condemn((u.completeChanged || u.criteriaChanged) && u.complete && !u.criteria, "cannot set Complete=True condition without the SuccessCriteriaMet=true condition")
	u.condemn(u.criteria && u.failed, "cannot set SuccessCriteriaMet=True and Failed=true conditions")
	u.condemn(u.criteria && u.target, "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions")
	u.condemn(u.spec.SuccessPolicy != nil && !u.criteria && u.complete, "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True")
}

func (u *statusUpdate) times() {
	start, end := u.n.StartTime, u.n.CompletionTime
	startChanged, endChanged := !sameTime(start, u.o.StartTime), !sameTime(end, u.o.CompletionTime)
	if u.completeChanged || endChanged {
		u.invalid(end != nil && !u.complete, "completionTime", end, "cannot set completionTime when there is no Complete=True condition")
		if end == nil && u.complete {
			u.errs = append(u.errs, field.Required(status.Child("completionTime"), "completionTime is required for Complete jobs"))
		}
	}
	u.invalid((startChanged || endChanged) && start != nil && end != nil && end.Before(start), "completionTime", end, "must be equal to or after `startTime`")
	u.invalid(end != nil && u.o.CompletionTime != nil && endChanged, "completionTime", end, validation.FieldImmutableErrorMsg)
	nothing := deref(u.spec.Suspend, false) && u.spec.Completions != nil && *u.spec.Completions == 0
	if (u.finishedChanged || startChanged) && !nothing && start == nil && u.finished() {
		u.errs = append(u.errs, field.Required(status.Child("startTime"), "startTime is required for finished job"))
	}
	resumes := isTrue(u.o.Conditions, batchv1.JobSuspended) && is(u.n.Conditions, batchv1.JobSuspended, "False")
	u.invalid(startChanged && !resumes && u.o.StartTime != nil && !deref(u.spec.Suspend, false),
		"startTime", start, "field is immutable for unsuspended job once set")
}

// pods judges what a finished job can't have.
func (u *statusUpdate) pods() {
	n, o := u.n, u.o
	u.invalid((u.finishedChanged || n.Active != o.Active) && n.Active > 0 && u.finished(), "active", n.Active, "active>0 is invalid for finished job")
	if p := n.UncountedTerminatedPods; p != nil && u.finished() && len(p.Failed)+len(p.Succeeded) > 0 {
		changed := u.finishedChanged || !equality.Semantic.DeepEqual(p, o.UncountedTerminatedPods)
		u.invalid(changed, "uncountedTerminatedPods", p, "must be empty for finished job")
	}
	terminating := deref(n.Terminating, 0)
	u.invalid((u.finishedChanged || !equal(n.Terminating, o.Terminating)) && terminating > 0 && u.finished(), "terminating", n.Terminating, "terminating>0 is invalid for finished job")
	ready := deref(n.Ready, 0)
	u.invalid((!equal(n.Ready, o.Ready) || n.Active != o.Active) && n.Ready != nil && ready > n.Active, "ready", ready, "cannot set more ready pods than active")
}

func (u *statusUpdate) failedIndexesChanged() bool {
	return !equal(u.n.FailedIndexes, u.o.FailedIndexes)
}

func (u *statusUpdate) indexes() {
	completed, failed := u.n.CompletedIndexes, u.n.FailedIndexes
	completedChanged, failedChanged := completed != u.o.CompletedIndexes, u.failedIndexesChanged()
	if completedChanged {
		if u.spec.Completions != nil {
			_, err := countIndexes(completed, *u.spec.Completions)
			u.invalid(err != nil, "completedIndexes", completed, fmt.Sprintf("error parsing completedIndexes: %v", err))
		}
		u.invalid(completed != "" && !indexed(u.spec), "completedIndexes", completed, "cannot set non-empty completedIndexes when non-indexed completion mode")
	}
	if failed == nil {
		return
	}
	if failedChanged {
		if u.spec.Completions != nil && u.spec.BackoffLimitPerIndex != nil {
			_, err := countIndexes(*failed, *u.spec.Completions)
			u.invalid(err != nil, "failedIndexes", failed, fmt.Sprintf("error parsing failedIndexes: %v", err))
		}
		u.invalid(u.spec.BackoffLimitPerIndex == nil, "failedIndexes", *failed, "cannot set non-null failedIndexes when backoffLimitPerIndex is null")
	}
	if (failedChanged || completedChanged) && u.spec.Completions != nil {
		if err := overlap(completed, *failed, *u.spec.Completions); err != nil {
			u.invalid(true, "failedIndexes", *failed, err.Error())
		}
	}
}

// terminal keeps conditions that are the end from being taken back.
func (u *statusUpdate) terminal() {
	for _, typ := range []batchv1.JobConditionType{batchv1.JobFailed, batchv1.JobComplete, batchv1.JobFailureTarget} {
		now, changed := u.condition(typ)
		u.condemn(changed && !now, fmt.Sprintf("cannot disable the terminal %s=True condition", typ))
	}
	u.condemn(u.criteriaChanged && !u.criteria, "cannot disable the SuccessCriteriaMet=True condition")
	u.condemn(u.criteriaChanged && u.criteria && isTrue(u.o.Conditions, batchv1.JobComplete), "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions")
}

func equal[T comparable](a, b *T) bool {
	return a == b || a != nil && b != nil && *a == *b
}

func sameTime(a, b *metav1.Time) bool {
	return a == b || a != nil && b != nil && a.Equal(b)
}
