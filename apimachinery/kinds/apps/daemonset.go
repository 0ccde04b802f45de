package apps

import (
	"context"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/internal/same"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
)

// DaemonSets declares apps/v1 DaemonSet.
func DaemonSets() apimachinery.Resource {
	return apimachinery.Resource{
		Name:       schema.GroupResource{Group: appsv1.GroupName, Resource: "daemonsets"},
		Namespaced: true,
		New:        func() apimachinery.Object { return &appsv1.DaemonSet{} },
		Views: []apimachinery.View{{
			GroupVersionKind: appsv1.SchemeGroupVersion.WithKind("DaemonSet"),
			Plural:           "daemonsets", Short: []string{"ds"}, Category: []string{"all"},
			Columns: daemonSetColumns(),
		}},
		Default: func(o apimachinery.Object) { defaultDaemonSet(o.(*appsv1.DaemonSet)) },
		Prepare: func(_ context.Context, new, old apimachinery.Object) { prepareDaemonSet(new, old) },
		Validate: func(_ context.Context, new, old apimachinery.Object) field.ErrorList {
			n := new.(*appsv1.DaemonSet)
			errs := append(core.ValidateFinalizers(n), validateDaemonSet(n)...)
			if old != nil {
				errs = append(errs, validation.ValidateImmutableField(n.Spec.Selector, old.(*appsv1.DaemonSet).Spec.Selector, spec.Child("selector"))...)
			}
			return errs
		},
		Warnings: templateWarnings(func(o *appsv1.DaemonSet) *corev1.PodTemplateSpec { return &o.Spec.Template }),
		Subs: map[string]apimachinery.Subresource{
			"status": {
				Verbs: []string{apimachinery.VerbGet, apimachinery.VerbPatch, apimachinery.VerbUpdate},
				Strategy: &apimachinery.Strategy{
					Owned: []string{"status"},
					Prepare: func(_ context.Context, new, old apimachinery.Object) {
						n, o := new.(*appsv1.DaemonSet), old.(*appsv1.DaemonSet)
						n.Spec, n.Generation = o.Spec, o.Generation
						if _, err := parseTemplateGeneration(n); err == nil {
							setTemplateGeneration(n, templateGeneration(o))
						}
					},
					Validate: func(_ context.Context, new, old apimachinery.Object) field.ErrorList {
						errs := append(core.ValidateFinalizers(new), validateTemplateGeneration(new.(*appsv1.DaemonSet))...)
						return append(errs, validateDaemonSetStatus(&new.(*appsv1.DaemonSet).Status, &old.(*appsv1.DaemonSet).Status)...)
					},
				},
			},
		},
	}
}

func daemonSetColumns() []apimachinery.Column {
	column := func(name string, of func(*appsv1.DaemonSetStatus) int32) apimachinery.Column {
		return apimachinery.ColumnOf(name, "integer", func(d *appsv1.DaemonSet) any { return int64(of(&d.Status)) })
	}
	return framed(func(d *appsv1.DaemonSet) (*corev1.PodSpec, *metav1.LabelSelector) {
		return &d.Spec.Template.Spec, d.Spec.Selector
	}, metav1.FormatLabelSelector,
		column("Desired", func(s *appsv1.DaemonSetStatus) int32 { return s.DesiredNumberScheduled }),
		column("Current", func(s *appsv1.DaemonSetStatus) int32 { return s.CurrentNumberScheduled }),
		column("Ready", func(s *appsv1.DaemonSetStatus) int32 { return s.NumberReady }),
		column("Up-to-date", func(s *appsv1.DaemonSetStatus) int32 { return s.UpdatedNumberScheduled }),
		column("Available", func(s *appsv1.DaemonSetStatus) int32 { return s.NumberAvailable }),
		apimachinery.ColumnOf("Node Selector", "string", func(d *appsv1.DaemonSet) any {
			return labels.FormatLabels(d.Spec.Template.Spec.NodeSelector)
		}),
	)
}

func defaultDaemonSet(d *appsv1.DaemonSet) {
	u := &d.Spec.UpdateStrategy
	unavailable := intstr.FromInt32(0)
	if u.Type == "" {
		u.Type = appsv1.RollingUpdateDaemonSetStrategyType
	}
	if u.Type == appsv1.RollingUpdateDaemonSetStrategyType {
		core.DefaultTo(&u.RollingUpdate, appsv1.RollingUpdateDaemonSet{})
		unavailable = intstr.FromInt32(1)
	}
	if u.RollingUpdate != nil {
		core.DefaultTo(&u.RollingUpdate.MaxUnavailable, unavailable)
		core.DefaultTo(&u.RollingUpdate.MaxSurge, intstr.FromInt32(0))
	}
	core.DefaultTo(&d.Spec.RevisionHistoryLimit, 10)
	core.DefaultPodTemplate(&d.Spec.Template)
	if _, err := parseTemplateGeneration(d); err == nil {
		setTemplateGeneration(d, templateGeneration(d))
	}
}

// parseTemplateGeneration reads the number of the template, which Kubernetes counts in an annotation; none is 0.
func parseTemplateGeneration(d *appsv1.DaemonSet) (int64, error) {
	text, ok := d.Annotations[appsv1.DeprecatedTemplateGeneration]
	if !ok {
		return 0, nil
	}
	return strconv.ParseInt(text, 10, 64)
}

func templateGeneration(d *appsv1.DaemonSet) int64 {
	n, err := parseTemplateGeneration(d)
	if err != nil {
		return 0
	}
	return n
}

func setTemplateGeneration(d *appsv1.DaemonSet, n int64) {
	if d.Annotations == nil {
		d.Annotations = map[string]string{}
	}
	d.Annotations[appsv1.DeprecatedTemplateGeneration] = strconv.FormatInt(n, 10)
}

var (
	sameTemplate      = same.Func[corev1.PodTemplateSpec]()
	sameDaemonSetSpec = same.Func[appsv1.DaemonSetSpec]()
)

// prepareDaemonSet counts the generation, and that of the template. A senseless count is left for Validate.
func prepareDaemonSet(new, old apimachinery.Object) {
	n := new.(*appsv1.DaemonSet)
	number, err := parseTemplateGeneration(n)
	if old == nil {
		n.Status, n.Generation = appsv1.DaemonSetStatus{}, 1
		core.PrepareTemplate(&n.Spec.Template, nil)
		if err == nil {
			setTemplateGeneration(n, max(number, 1))
		}
		return
	}
	o := old.(*appsv1.DaemonSet)
	n.Status, n.Generation = o.Status, o.Generation
	core.PrepareTemplate(&n.Spec.Template, &o.Spec.Template)
	number = templateGeneration(o)
	if !sameTemplate(&n.Spec.Template, &o.Spec.Template) {
		number++
	}
	if err == nil {
		setTemplateGeneration(n, number)
	}
	if !sameDaemonSetSpec(&n.Spec, &o.Spec) {
		n.Generation++
	}
}

func validateDaemonSet(d *appsv1.DaemonSet) field.ErrorList {
	s := &d.Spec
	var errs field.ErrorList
	errs = append(errs, validateTemplateGeneration(d)...)
	path, template := spec.Child("selector"), spec.Child("template")
	errs = append(errs, metavalidation.ValidateLabelSelector(s.Selector, metavalidation.LabelSelectorValidationOptions{}, path)...)
	if selector, err := metav1.LabelSelectorAsSelector(s.Selector); err == nil && !selector.Matches(labels.Set(s.Template.Labels)) {
		errs = append(errs, field.Invalid(template.Child("metadata", "labels"), s.Template.Labels, "`selector` does not match template `labels`"))
	}
	if s.Selector != nil && len(s.Selector.MatchLabels)+len(s.Selector.MatchExpressions) == 0 {
		errs = append(errs, field.Invalid(path, s.Selector, "empty selector is invalid for daemonset"))
	}
	errs = append(errs, core.ValidatePodTemplate(&s.Template, template)...)
	errs = append(errs, validateForever(&s.Template, template, "DaemonSet")...)
	errs = append(errs, notNegative(int64(s.MinReadySeconds), spec.Child("minReadySeconds"))...)
	errs = append(errs, validateDaemonSetStrategy(&s.UpdateStrategy, spec.Child("updateStrategy"))...)
	if s.RevisionHistoryLimit != nil {
		errs = append(errs, notNegative(int64(*s.RevisionHistoryLimit), spec.Child("revisionHistoryLimit"))...)
	}
	return errs
}

func validateDaemonSetStrategy(u *appsv1.DaemonSetUpdateStrategy, path *field.Path) field.ErrorList {
	switch u.Type {
	case appsv1.OnDeleteDaemonSetStrategyType:
		return nil
	case appsv1.RollingUpdateDaemonSetStrategyType:
		if u.RollingUpdate == nil {
			return field.ErrorList{field.Required(path.Child("rollingUpdate"), "")}
		}
		return validateDaemonSetRolling(u.RollingUpdate, path.Child("rollingUpdate"))
	}
	return field.ErrorList{field.NotSupported(path, u, []appsv1.DaemonSetUpdateStrategyType{
		appsv1.RollingUpdateDaemonSetStrategyType, appsv1.OnDeleteDaemonSetStrategyType,
	})}
}

// validateDaemonSetRolling wants either pods that are missing for a while or pods beside the old ones.
func validateDaemonSetRolling(r *appsv1.RollingUpdateDaemonSet, path *field.Path) field.ErrorList {
	unavailable, surge := path.Child("maxUnavailable"), path.Child("maxSurge")
	errs := core.ValidateShare(r.MaxUnavailable, unavailable)
	errs = append(errs, core.ValidateShare(r.MaxSurge, surge)...)
	if r.MaxUnavailable == nil || r.MaxSurge == nil {
		return errs
	}
	errs = append(errs, core.ValidateAtMostAll(r.MaxUnavailable, unavailable)...)
	errs = append(errs, core.ValidateAtMostAll(r.MaxSurge, surge)...)
	missing, beside := core.ShareOf(r.MaxUnavailable) != 0, core.ShareOf(r.MaxSurge) != 0
	switch {
	case missing && beside:
		errs = append(errs, field.Invalid(surge, r.MaxSurge, "may not be set when maxUnavailable is non-zero"))
	case !missing && !beside:
		errs = append(errs, field.Required(unavailable, "cannot be 0 when maxSurge is 0"))
	}
	return errs
}

func validateDaemonSetStatus(n, o *appsv1.DaemonSetStatus) field.ErrorList {
	var errs field.ErrorList
	for _, c := range []struct {
		name  string
		value int64
	}{
		{"currentNumberScheduled", int64(n.CurrentNumberScheduled)},
		{"numberMisscheduled", int64(n.NumberMisscheduled)},
		{"desiredNumberScheduled", int64(n.DesiredNumberScheduled)},
		{"numberReady", int64(n.NumberReady)},
		{"observedGeneration", n.ObservedGeneration},
		{"updatedNumberScheduled", int64(n.UpdatedNumberScheduled)},
		{"numberAvailable", int64(n.NumberAvailable)},
		{"numberUnavailable", int64(n.NumberUnavailable)},
	} {
		errs = append(errs, notNegative(c.value, status.Child(c.name))...)
	}
	return append(errs, validateCollisions(n.CollisionCount, o.CollisionCount)...)
}

// validateTemplateGeneration refuses a generation of the template that is no number.
func validateTemplateGeneration(d *appsv1.DaemonSet) field.ErrorList {
	if _, err := parseTemplateGeneration(d); err != nil {
		path := field.NewPath("metadata", "annotations").Key(appsv1.DeprecatedTemplateGeneration)
		return field.ErrorList{field.Invalid(path, d.Annotations[appsv1.DeprecatedTemplateGeneration], "must be an integer")}
	}
	return nil
}
