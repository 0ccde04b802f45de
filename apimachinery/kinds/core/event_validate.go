package core

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
)

// validateEvent judges events of both generations. What is written as events.k8s.io/v1 is held to more: nothing of the
// older generation, and on update nothing but the series may change. Through core/v1 an update is held to the same as
// a new event, and not to what was there before.
func validateEvent(e *corev1.Event, old apimachinery.Object, newer bool) field.ErrorList {
	reporter := "reportingComponent"
	if newer {
		reporter = "reportingController"
	}
	errs := validateAnyEvent(e, reporter)
	switch {
	case !newer:
	case old == nil:
		errs = append(errs, validateNewerEvent(e)...)
	default:
		errs = append(errs, validateNewerUpdate(e, old.(*corev1.Event))...)
	}
	return errs
}

// validateAnyEvent is what both ways ask: events with an eventTime must say who reports what, older ones need little
// more than a namespace that matches. reporter is what the view calls the reporting controller.
func validateAnyEvent(e *corev1.Event, reporter string) field.ErrorList {
	errs := validateEventNamespace(e)
	for _, msg := range utilvalidation.IsDNS1123Subdomain(e.Namespace) {
		errs = append(errs, field.Invalid(field.NewPath("namespace"), e.Namespace, msg))
	}
	if e.EventTime.IsZero() {
		return errs
	}
	const short, long = 128, 1024
	required := func(name, value string) *field.Path {
		if path := field.NewPath(name); value != "" {
			return path
		}
		errs = append(errs, field.Required(field.NewPath(name), ""))
		return field.NewPath(name)
	}
	atMost := func(path *field.Path, value string, most int) {
		if len(value) > most {
			errs = append(errs, field.Invalid(path, "", fmt.Sprintf("can have at most %d characters", most)))
		}
	}
	errs = append(errs, validateQualifiedName(e.ReportingController, required(reporter, e.ReportingController))...)
	atMost(required("reportingInstance", e.ReportingInstance), e.ReportingInstance, short)
	atMost(required("action", e.Action), e.Action, short)
	atMost(required("reason", e.Reason), e.Reason, short)
	atMost(field.NewPath("message"), e.Message, long)
	return errs
}

// validateNewerEvent judges a new event of the newer generation.
func validateNewerEvent(e *corev1.Event) field.ErrorList {
	errs := append(ValidateFinalizers(e), validateEventSeries(e.Series)...)
	if e.EventTime.IsZero() {
		errs = append(errs, field.Required(field.NewPath("eventTime"), ""))
	}
	if e.Type != corev1.EventTypeNormal && e.Type != corev1.EventTypeWarning {
		errs = append(errs, field.Invalid(field.NewPath("type"), "", "has invalid value: "+e.Type))
	}
	for name, set := range map[string]bool{
		"firstTimestamp": !e.FirstTimestamp.IsZero(), "lastTimestamp": !e.LastTimestamp.IsZero(),
		"count": e.Count != 0, "source": e.Source != corev1.EventSource{},
	} {
		if set {
			errs = append(errs, field.Invalid(field.NewPath(name), "", "needs to be unset"))
		}
	}
	return errs
}

func validateEventSeries(s *corev1.EventSeries) (errs field.ErrorList) {
	if s == nil {
		return nil
	}
	if s.Count < 2 {
		errs = append(errs, field.Invalid(field.NewPath("series.count"), "", "should be at least 2"))
	}
	if s.LastObservedTime.IsZero() {
		errs = append(errs, field.Required(field.NewPath("series.lastObservedTime"), ""))
	}
	return errs
}

// validateNewerUpdate lets nothing but the series change. Times count by the microsecond: some clients cut them there.
func validateNewerUpdate(e, old *corev1.Event) field.ErrorList {
	errs := ValidateFinalizers(e)
	if !equality.Semantic.DeepEqual(e.Series, old.Series) {
		errs = append(errs, validateEventSeries(e.Series)...)
	}
	for _, f := range []struct {
		name string
		a, b any
	}{
		{"involvedObject", e.InvolvedObject, old.InvolvedObject}, {"reason", e.Reason, old.Reason}, {"message", e.Message, old.Message},
		{"source", e.Source, old.Source}, {"firstTimestamp", e.FirstTimestamp, old.FirstTimestamp}, {"lastTimestamp", e.LastTimestamp, old.LastTimestamp},
		{"count", e.Count, old.Count}, {"type", e.Type, old.Type}, {"action", e.Action, old.Action}, {"related", e.Related, old.Related},
		{"reportingController", e.ReportingController, old.ReportingController}, {"reportingInstance", e.ReportingInstance, old.ReportingInstance},
	} {
		errs = append(errs, validation.ValidateImmutableField(f.a, f.b, field.NewPath(f.name))...)
	}
	at := func(t metav1.MicroTime) time.Time { return t.Truncate(time.Microsecond).UTC() }
	if at(e.EventTime) != at(old.EventTime) {
		errs = append(errs, validation.ValidateImmutableField(e.EventTime, old.EventTime, field.NewPath("eventTime"))...)
	}
	return errs
}
