package core

import (
	"context"
	"fmt"
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/internal/same"
)

// ReplicationControllers declares v1 ReplicationController. Its pods stay when it is deleted, unless the deletion says
// otherwise.
func ReplicationControllers() apimachinery.Resource {
	type controller = *corev1.ReplicationController
	resource := schema.GroupResource{Resource: "replicationcontrollers"}
	return apimachinery.Resource{
		Name:       resource,
		Prefix:     "controllers",
		Namespaced: true,
		New:        func() apimachinery.Object { return &corev1.ReplicationController{} },
		Views: []apimachinery.View{{
			GroupVersionKind: corev1.SchemeGroupVersion.WithKind("ReplicationController"),
			Plural:           "replicationcontrollers", Short: []string{"rc"}, Category: []string{"all"},
			Columns: controllerColumns(),
			Fields:  []apimachinery.Field{{Name: "status.replicas", Default: "0"}},
		}},
		Default: func(o apimachinery.Object) { defaultController(o.(controller)) },
		Prepare: func(_ context.Context, new, old apimachinery.Object) { prepareController(new.(controller), old) },
		Validate: func(_ context.Context, new, _ apimachinery.Object) field.ErrorList {
			return validateController(new.(controller))
		},
		Warnings: func(new, old apimachinery.Object) []string { return controllerWarnings(new.(controller), old) },
		Orphans:  true,
		Subs: map[string]apimachinery.Subresource{
			"status": statusOf(func(new, old controller) { new.Spec = old.Spec }, func(new, _ controller) field.ErrorList {
				return append(ValidateFinalizers(new), validateControllerStatus(&new.Status)...)
			}),
			"scale": scaleOf(resource, func(r controller) scaled {
				return scaled{r.Spec.Replicas, labels.SelectorFromSet(r.Spec.Selector).String(), r.Status.Replicas}
			}, func(r controller, n int32) { r.Spec.Replicas = &n }),
		},
	}
}

// defaultController lets selector and labels follow the labels of the template.
func defaultController(r *corev1.ReplicationController) {
	defaultTo(&r.Spec.Replicas, 1)
	t := r.Spec.Template
	if t == nil {
		return
	}
	DefaultPodTemplate(t)
	if t.Labels == nil {
		return
	}
	if len(r.Spec.Selector) == 0 {
		r.Spec.Selector = maps.Clone(t.Labels)
	}
	if len(r.Labels) == 0 {
		r.Labels = maps.Clone(t.Labels)
	}
}

var sameControllerSpec = same.Func[corev1.ReplicationControllerSpec]()

func prepareController(new *corev1.ReplicationController, old apimachinery.Object) {
	if old == nil {
		new.Status, new.Generation = corev1.ReplicationControllerStatus{}, 1
		if new.Spec.Template != nil {
			PrepareTemplate(new.Spec.Template, nil)
		}
		return
	}
	o := old.(*corev1.ReplicationController)
	new.Status, new.Generation = o.Status, o.Generation
	if new.Spec.Template != nil {
		PrepareTemplate(new.Spec.Template, o.Spec.Template)
	}
	if !sameControllerSpec(&new.Spec, &o.Spec) {
		new.Generation++
	}
}

func validateController(r *corev1.ReplicationController) field.ErrorList {
	errs := append(ValidateFinalizers(r), validation.ValidateNonnegativeField(int64(r.Spec.MinReadySeconds), spec.Child("minReadySeconds"))...)
	if len(r.Spec.Selector) == 0 {
		errs = append(errs, field.Required(spec.Child("selector"), ""))
	}
	if r.Spec.Replicas == nil {
		errs = append(errs, field.Required(spec.Child("replicas"), ""))
	} else {
		errs = append(errs, validation.ValidateNonnegativeField(int64(*r.Spec.Replicas), spec.Child("replicas"))...)
	}
	t, path := r.Spec.Template, spec.Child("template")
	if t == nil {
		return append(errs, field.Required(path, ""))
	}
	if !labels.SelectorFromSet(r.Spec.Selector).Matches(labels.Set(t.Labels)) {
		errs = append(errs, field.Invalid(path.Child("metadata", "labels"), t.Labels, "`selector` does not match template `labels`"))
	}
	errs = append(errs, ValidatePodTemplate(t, path)...)
	if p := t.Spec.RestartPolicy; p != corev1.RestartPolicyAlways {
		errs = append(errs, notOneOf(path.Child("spec", "restartPolicy"), p, corev1.RestartPolicyAlways))
	}
	if t.Spec.ActiveDeadlineSeconds != nil {
		errs = append(errs, field.Forbidden(path.Child("spec", "activeDeadlineSeconds"), "activeDeadlineSeconds in ReplicationController is not Supported"))
	}
	return errs
}

func validateControllerStatus(s *corev1.ReplicationControllerStatus) field.ErrorList {
	var errs field.ErrorList
	count := func(name string, n, most int32, what string) {
		at := status.Child(name)
		errs = append(errs, validation.ValidateNonnegativeField(int64(n), at)...)
		if n > most {
			errs = append(errs, field.Invalid(at, n, "cannot be greater than "+what))
		}
	}
	count("replicas", s.Replicas, s.Replicas, "")
	count("fullyLabeledReplicas", s.FullyLabeledReplicas, s.Replicas, "status.replicas")
	count("readyReplicas", s.ReadyReplicas, s.Replicas, "status.replicas")
	count("availableReplicas", s.AvailableReplicas, s.Replicas, "status.replicas")
	if s.AvailableReplicas > s.ReadyReplicas {
		errs = append(errs, field.Invalid(status.Child("availableReplicas"), s.AvailableReplicas, "cannot be greater than readyReplicas"))
	}
	return append(errs, validation.ValidateNonnegativeField(s.ObservedGeneration, status.Child("observedGeneration"))...)
}

func controllerWarnings(r *corev1.ReplicationController, old apimachinery.Object) []string {
	if r.Spec.Template == nil || old != nil && old.GetGeneration() == r.Generation {
		return nil
	}
	out := PodTemplateWarnings(r.Spec.Template, spec.Child("template"))
	if msgs := utilvalidation.IsDNS1123Label(r.Name); old == nil && len(msgs) > 0 {
		out = append([]string{fmt.Sprintf("metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: [%s]", strings.Join(msgs, " "))}, out...)
	}
	return out
}

func controllerColumns() []apimachinery.Column {
	type controller = *corev1.ReplicationController
	list := func(of func(*corev1.Container) string) func(controller) any {
		return func(r controller) any {
			if r.Spec.Template == nil {
				return ""
			}
			return containersOf(r.Spec.Template.Spec.Containers, of)
		}
	}
	return []apimachinery.Column{
		apimachinery.NameColumn(),
		apimachinery.ColumnOf("Desired", "integer", func(r controller) any {
			if r.Spec.Replicas == nil {
				return int64(0)
			}
			return int64(*r.Spec.Replicas)
		}),
		apimachinery.ColumnOf("Current", "integer", func(r controller) any { return int64(r.Status.Replicas) }),
		apimachinery.ColumnOf("Ready", "integer", func(r controller) any { return int64(r.Status.ReadyReplicas) }),
		apimachinery.AgeColumn(),
		wide("Containers", "string", list(nameOf)),
		wide("Images", "string", list(imageOf)),
		wide("Selector", "string", func(r controller) any { return labels.FormatLabels(r.Spec.Selector) }),
	}
}
