package core

import (
	"context"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
)

// eventTTL is how long Kubernetes keeps events.
const eventTTL = time.Hour

// Events declares Event, one table with two views: v1 (the hub, and what is stored) and events.k8s.io/v1.
func Events() apimachinery.Resource {
	return apimachinery.Resource{
		Name:       schema.GroupResource{Resource: "events"},
		Namespaced: true,
		New:        func() apimachinery.Object { return &corev1.Event{} },
		Views: []apimachinery.View{{
			GroupVersionKind: corev1.SchemeGroupVersion.WithKind("Event"),
			Plural:           "events", Short: []string{"ev"},
			Columns: eventColumns(),
			Fields:  eventFields("involvedObject", "reportingComponent"),
		}, {
			GroupVersionKind: eventsv1.SchemeGroupVersion.WithKind("Event"),
			Plural:           "events", Short: []string{"ev"},
			New:     func() apimachinery.Object { return &eventsv1.Event{} },
			FromHub: func(o apimachinery.Object) (apimachinery.Object, error) { return fromCoreEvent(o.(*corev1.Event)), nil },
			ToHub:   func(o apimachinery.Object) (apimachinery.Object, error) { return toCoreEvent(o.(*eventsv1.Event)), nil },
			Columns: viewColumns(eventColumns()),
			Fields:  eventFields("regarding", "reportingController"),
		}},
		Validate: func(ctx context.Context, new, old apimachinery.Object) field.ErrorList {
			kind, _ := apimachinery.KindFrom(ctx)
			return validateEvent(new.(*corev1.Event), old, kind.Group == eventsv1.GroupName)
		},
		Upsert: true,
		TTL:    eventTTL,
	}
}

// eventFields are the selectable fields of both views: the names differ, what is stored does not.
func eventFields(object, reporter string) []apimachinery.Field {
	var fields []apimachinery.Field
	for _, f := range []string{"kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath"} {
		fields = append(fields, apimachinery.Field{Name: object + "." + f, Paths: []string{"involvedObject." + f}})
	}
	return append(fields,
		apimachinery.Field{Name: "reason"},
		apimachinery.Field{Name: reporter, Paths: []string{"reportingComponent"}},
		apimachinery.Field{Name: "source", Paths: []string{"source.component", "reportingComponent"}},
		apimachinery.Field{Name: "type"},
	)
}

func fromCoreEvent(e *corev1.Event) *eventsv1.Event {
	out := &eventsv1.Event{
		ObjectMeta: e.ObjectMeta, EventTime: e.EventTime,
		ReportingController: e.ReportingController, ReportingInstance: e.ReportingInstance,
		Action: e.Action, Reason: e.Reason, Regarding: e.InvolvedObject, Related: e.Related,
		Note: e.Message, Type: e.Type,
		DeprecatedSource: e.Source, DeprecatedCount: e.Count,
		DeprecatedFirstTimestamp: e.FirstTimestamp, DeprecatedLastTimestamp: e.LastTimestamp,
	}
	if e.Series != nil {
		out.Series = &eventsv1.EventSeries{Count: e.Series.Count, LastObservedTime: e.Series.LastObservedTime}
	}
	return out
}

func toCoreEvent(e *eventsv1.Event) *corev1.Event {
	out := &corev1.Event{
		ObjectMeta: e.ObjectMeta, EventTime: e.EventTime,
		ReportingController: e.ReportingController, ReportingInstance: e.ReportingInstance,
		Action: e.Action, Reason: e.Reason, InvolvedObject: e.Regarding, Related: e.Related,
		Message: e.Note, Type: e.Type,
		Source: e.DeprecatedSource, Count: e.DeprecatedCount,
		FirstTimestamp: e.DeprecatedFirstTimestamp, LastTimestamp: e.DeprecatedLastTimestamp,
	}
	if e.Series != nil {
		out.Series = &corev1.EventSeries{Count: e.Series.Count, LastObservedTime: e.Series.LastObservedTime}
	}
	return out
}

// validateEventNamespace lets an event about something without a namespace be in the default one, or, if it has an
// eventTime, in the system's.
func validateEventNamespace(e *corev1.Event) field.ErrorList {
	involved, old := e.InvolvedObject.Namespace, e.EventTime.IsZero()
	switch {
	case involved == "" && e.Namespace == metav1.NamespaceDefault,
		involved == "" && old && e.Namespace == metav1.NamespaceNone,
		involved == "" && !old && e.Namespace == metav1.NamespaceSystem,
		involved != "" && (!old || involved == e.Namespace):
		return nil
	}
	return field.ErrorList{field.Invalid(field.NewPath("involvedObject", "namespace"), involved, "does not match event.namespace")}
}

func eventColumns() []apimachinery.Column {
	type event = *corev1.Event
	name := apimachinery.NameColumn()
	name.Priority = 1
	return []apimachinery.Column{
		apimachinery.ColumnOf("Last Seen", "string", func(e event) any { return lastSeen(e) }),
		apimachinery.ColumnOf("Type", "string", func(e event) any { return e.Type }),
		apimachinery.ColumnOf("Reason", "string", func(e event) any { return e.Reason }),
		apimachinery.ColumnOf("Object", "string", func(e event) any {
			return eventObject(e)
		}),
		wide("Subobject", "string", func(e event) any { return e.InvolvedObject.FieldPath }),
		wide("Source", "string", func(e event) any { return eventSource(e) }),
		apimachinery.ColumnOf("Message", "string", func(e event) any { return strings.TrimSpace(e.Message) }),
		wide("First Seen", "string", func(e event) any { return firstSeen(e) }),
		wide("Count", "string", func(e event) any { return eventCount(e) }),
		name,
	}
}

// viewColumns lets the columns of the hub serve the other view.
func viewColumns(columns []apimachinery.Column) []apimachinery.Column {
	for i, c := range columns {
		columns[i].Cell = func(o apimachinery.Object) any { return c.Cell(toCoreEvent(o.(*eventsv1.Event))) }
	}
	return columns
}

func eventObject(e *corev1.Event) string {
	kind := strings.ToLower(e.InvolvedObject.Kind)
	if e.InvolvedObject.Name == "" {
		return kind
	}
	return kind + "/" + e.InvolvedObject.Name
}

func lastSeen(e *corev1.Event) string {
	switch {
	case e.Series != nil:
		return apimachinery.Age(metav1.Time(e.Series.LastObservedTime))
	case !e.LastTimestamp.IsZero():
		return apimachinery.Age(e.LastTimestamp)
	}
	return firstSeen(e)
}

func firstSeen(e *corev1.Event) string {
	if e.FirstTimestamp.IsZero() {
		return apimachinery.Age(metav1.Time(e.EventTime))
	}
	return apimachinery.Age(e.FirstTimestamp)
}

func eventCount(e *corev1.Event) int64 {
	switch {
	case e.Series != nil:
		return int64(e.Series.Count)
	case e.Count != 0:
		return int64(e.Count)
	}
	return 1
}

func eventSource(e *corev1.Event) string {
	component, host := or(e.Source.Component, e.ReportingController), or(e.Source.Host, e.ReportingInstance)
	if host == "" {
		return component
	}
	return component + ", " + host
}
