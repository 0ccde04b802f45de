package core

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/internal/same"
)

// PodTemplates declares v1 PodTemplate.
func PodTemplates() apimachinery.Resource {
	type template = *corev1.PodTemplate
	return apimachinery.Resource{
		Name:       schema.GroupResource{Resource: "podtemplates"},
		Namespaced: true,
		New:        func() apimachinery.Object { return &corev1.PodTemplate{} },
		Views: []apimachinery.View{{
			GroupVersionKind: corev1.SchemeGroupVersion.WithKind("PodTemplate"),
			Plural:           "podtemplates",
			Columns: []apimachinery.Column{
				apimachinery.NameColumn(),
				apimachinery.ColumnOf("Containers", "string", func(t template) any { return containersOf(t.Template.Spec.Containers, nameOf) }),
				apimachinery.ColumnOf("Images", "string", func(t template) any { return containersOf(t.Template.Spec.Containers, imageOf) }),
				apimachinery.ColumnOf("Pod Labels", "string", func(t template) any { return labels.FormatLabels(t.Template.Labels) }),
			},
		}},
		Default: func(o apimachinery.Object) { DefaultPodTemplate(&o.(template).Template) },
		Prepare: func(_ context.Context, new, old apimachinery.Object) { preparePodTemplate(new.(template), old) },
		Validate: func(_ context.Context, new, _ apimachinery.Object) field.ErrorList {
			return append(ValidateFinalizers(new), ValidatePodTemplate(&new.(template).Template, field.NewPath("template"))...)
		},
		Warnings: func(new, old apimachinery.Object) []string {
			if old != nil && old.GetGeneration() == new.GetGeneration() {
				return nil
			}
			return PodTemplateWarnings(&new.(template).Template, field.NewPath("template"))
		},
		Echo: true,
	}
}

var sameTemplate = same.Func[corev1.PodTemplateSpec]()

func preparePodTemplate(new *corev1.PodTemplate, old apimachinery.Object) {
	if old == nil {
		new.Generation = 1
		PrepareTemplate(&new.Template, nil)
		return
	}
	o := old.(*corev1.PodTemplate)
	PrepareTemplate(&new.Template, &o.Template)
	if new.Generation = o.Generation; !sameTemplate(&new.Template, &o.Template) {
		new.Generation++
	}
}
