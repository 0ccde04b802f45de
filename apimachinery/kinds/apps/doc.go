// Package apps declares the kinds of apps/v1, one file each, with defaults, validation, columns, status and scale as
// Kubernetes v1.37 has them.
package apps

import (
	"context"
	"fmt"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/internal/forms"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
)

// Resources returns every kind of this package.
func Resources() []apimachinery.Resource {
	return []apimachinery.Resource{Deployments(), ReplicaSets(), StatefulSets(), DaemonSets(), ControllerRevisions()}
}

var (
	spec   = field.NewPath("spec")
	status = field.NewPath("status")
)

// framed puts name in front of columns, and age, containers, images and selector, in the words of format, behind them.
func framed[T apimachinery.Object](workload func(T) (*corev1.PodSpec, *metav1.LabelSelector), format func(*metav1.LabelSelector) string, middle ...apimachinery.Column) []apimachinery.Column {
	columns := append([]apimachinery.Column{apimachinery.NameColumn()}, middle...)
	columns = append(columns, apimachinery.AgeColumn())
	columns = append(columns, core.ContainerColumns(func(o T) *corev1.PodSpec {
		pod, _ := workload(o)
		return pod
	})...)
	return append(columns, apimachinery.Wide(apimachinery.ColumnOf("Selector", "string", func(o T) any {
		_, s := workload(o)
		return format(s)
	})))
}

// scaled is what a scale is read from and written to.
type scaled struct {
	replicas *int32
	selector *metav1.LabelSelector
	current  int32
}

// scale is the subresource of a workload that has so many replicas.
func scale[T apimachinery.Object](of func(T) scaled, set func(o T, replicas int32)) apimachinery.Subresource {
	return apimachinery.Subresource{
		Kind:  schema.GroupVersionKind{Group: autoscalingv1.GroupName, Version: "v1", Kind: "Scale"},
		New:   func() apimachinery.Object { return &autoscalingv1.Scale{} },
		Verbs: []string{apimachinery.VerbGet, apimachinery.VerbPatch, apimachinery.VerbUpdate},
		Owns:  map[string]string{"spec.replicas": "spec.replicas"},
		Get: func(o apimachinery.Object) (apimachinery.Object, error) {
			have := of(o.(T))
			selector, err := metav1.LabelSelectorAsSelector(have.selector)
			if err != nil {
				return nil, fmt.Errorf("read the selector of %s: %w", apimachinery.KeyOf(o), err)
			}
			s := &autoscalingv1.Scale{Status: autoscalingv1.ScaleStatus{Replicas: have.current, Selector: selector.String()}}
			s.Kind, s.APIVersion = "Scale", "autoscaling/v1"
			s.Name, s.Namespace, s.UID = o.GetName(), o.GetNamespace(), o.GetUID()
			s.ResourceVersion, s.CreationTimestamp = o.GetResourceVersion(), o.GetCreationTimestamp()
			if have.replicas != nil {
				s.Spec.Replicas = *have.replicas
			}
			return s, nil
		},
		Mutate: func(_ context.Context, o, in apimachinery.Object) error {
			s := in.(*autoscalingv1.Scale)
			if err := judgeScale(s, o); err != nil {
				return err
			}
			if have := of(o.(T)).replicas; have == nil || *have != s.Spec.Replicas {
				set(o.(T), s.Spec.Replicas)
				o.SetGeneration(o.GetGeneration() + 1)
			}
			return nil
		},
	}
}

func judgeScale(s *autoscalingv1.Scale, o apimachinery.Object) error {
	if s.Spec.Replicas < 0 {
		kind := schema.GroupKind{Group: autoscalingv1.GroupName, Kind: "Scale"}
		return apierrors.NewInvalid(kind, s.Name, field.ErrorList{notNegative(int64(s.Spec.Replicas), spec.Child("replicas"))[0]})
	}
	if s.UID != "" && s.UID != o.GetUID() || s.ResourceVersion != "" && o.GetResourceVersion() != "" && s.ResourceVersion != o.GetResourceVersion() {
		return apierrors.NewConflict(schema.GroupResource{Group: "apps", Resource: "scale"}, o.GetName(),
			fmt.Errorf("the object has been modified; please apply your changes to the latest version and try again"))
	}
	return nil
}

func notNegative(n int64, path *field.Path) field.ErrorList {
	return validation.ValidateNonnegativeField(n, path)
}

// validateSelected judges a selector, and, if that can be read, the template that must have its labels.
func validateSelected(s *metav1.LabelSelector, t *corev1.PodTemplateSpec, kind string) field.ErrorList {
	errs := validateSelector(s, t, kind, "invalid label selector")
	if _, err := metav1.LabelSelectorAsSelector(s); err != nil {
		return errs
	}
	path := spec.Child("template")
	errs = append(errs, core.ValidatePodTemplate(t, path)...)
	return append(errs, validateForever(t, path, "ReplicaSet")...)
}

// validateSelector judges a selector, and whether the template has its labels. unreadable is what is said of one that
// makes no sense.
func validateSelector(s *metav1.LabelSelector, t *corev1.PodTemplateSpec, kind, unreadable string) field.ErrorList {
	path := spec.Child("selector")
	var errs field.ErrorList
	if s == nil {
		errs = append(errs, field.Required(path, ""))
	} else {
		if !forms.IsSelector(s) {
			errs = append(errs, metavalidation.ValidateLabelSelector(s, metavalidation.LabelSelectorValidationOptions{}, path)...)
		}
		if len(s.MatchLabels)+len(s.MatchExpressions) == 0 {
			errs = append(errs, field.Invalid(path, s, "empty selector is invalid for "+kind))
		}
	}
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return append(errs, field.Invalid(path, s, unreadable))
	}
	if !selector.Empty() && !selector.Matches(labels.Set(t.Labels)) {
		errs = append(errs, field.Invalid(spec.Child("template", "metadata", "labels"), t.Labels, "`selector` does not match template `labels`"))
	}
	return errs
}

// validateForever judges what of a template says how long its pods are to run: for ever.
func validateForever(t *corev1.PodTemplateSpec, path *field.Path, kind string) field.ErrorList {
	var errs field.ErrorList
	if t.Spec.RestartPolicy != corev1.RestartPolicyAlways {
		errs = append(errs, field.NotSupported(path.Child("spec", "restartPolicy"), t.Spec.RestartPolicy, []corev1.RestartPolicy{corev1.RestartPolicyAlways}))
	}
	if t.Spec.ActiveDeadlineSeconds != nil {
		errs = append(errs, field.Forbidden(path.Child("spec", "activeDeadlineSeconds"), "activeDeadlineSeconds in "+kind+" is not Supported"))
	}
	return errs
}

// atMost judges a count of the status against another.
func atMost(n, most int32, path *field.Path, what string) field.ErrorList {
	errs := notNegative(int64(n), path)
	if n > most {
		errs = append(errs, field.Invalid(path, n, "cannot be greater than "+what))
	}
	return errs
}

// templateWarnings are told to who writes a template: always on create, later where the object has a new generation.
func templateWarnings[T apimachinery.Object](template func(T) *corev1.PodTemplateSpec) func(new, old apimachinery.Object) []string {
	return func(new, old apimachinery.Object) []string {
		if old != nil && old.GetGeneration() == new.GetGeneration() {
			return nil
		}
		return core.PodTemplateWarnings(template(new.(T)), spec.Child("template"))
	}
}
