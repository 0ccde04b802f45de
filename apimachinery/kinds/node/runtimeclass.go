// Package node declares the kinds of node.k8s.io: RuntimeClass, as Kubernetes v1.37 has it. What it does to pods is
// in admission/runtimeclass.
package node

import (
	"context"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/internal/nodelabels"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
)

// Resources returns every kind of this package.
func Resources() []apimachinery.Resource { return []apimachinery.Resource{RuntimeClasses()} }

// RuntimeClasses declares node.k8s.io/v1 RuntimeClass. Its handler is immutable.
func RuntimeClasses() apimachinery.Resource {
	type class = *nodev1.RuntimeClass
	return apimachinery.Resource{
		Name:   schema.GroupResource{Group: nodev1.GroupName, Resource: "runtimeclasses"},
		Prefix: "runtimeclasses",
		New:    func() apimachinery.Object { return &nodev1.RuntimeClass{} },
		Views: []apimachinery.View{{
			GroupVersionKind: nodev1.SchemeGroupVersion.WithKind("RuntimeClass"),
			Plural:           "runtimeclasses",
			Columns: []apimachinery.Column{
				apimachinery.NameColumn(),
				apimachinery.ColumnOf("Handler", "string", func(c class) any { return c.Handler }),
				apimachinery.AgeColumn(),
			},
		}},
		Validate: func(_ context.Context, new, old apimachinery.Object) field.ErrorList {
			n := new.(class)
			errs := validate(n)
			if o, ok := old.(class); ok {
				errs = append(errs, validation.ValidateImmutableField(n.Handler, o.Handler, field.NewPath("handler"))...)
			}
			return errs
		},
		Warnings:    func(new, _ apimachinery.Object) []string { return warnings(new.(class)) },
		Upsert:      true,
		Conditional: true,
	}
}

func validate(c *nodev1.RuntimeClass) field.ErrorList {
	var errs field.ErrorList
	if handler := field.NewPath("handler"); c.Handler == "" {
		errs = append(errs, field.Required(handler, ""))
	} else {
		for _, msg := range validation.NameIsDNSLabel(c.Handler, false) {
			errs = append(errs, field.Invalid(handler, c.Handler, msg))
		}
	}
	if c.Overhead != nil {
		errs = append(errs, core.ValidateOverhead(c.Overhead.PodFixed, field.NewPath("overhead"))...)
	}
	if c.Scheduling != nil {
		errs = append(errs, metavalidation.ValidateLabels(c.Scheduling.NodeSelector, field.NewPath("scheduling", "nodeSelector"))...)
		errs = append(errs, validateTolerations(c.Scheduling.Tolerations, field.NewPath("scheduling", "tolerations"))...)
	}
	return errs
}

// validateTolerations judges each, and that none is there twice; how long it lasts makes no difference.
func validateTolerations(all []corev1.Toleration, at *field.Path) field.ErrorList {
	errs := core.ValidateTolerations(all, at)
	seen := map[corev1.Toleration]bool{}
	for i, t := range all {
		key := t
		key.TolerationSeconds = nil
		if seen[key] {
			errs = append(errs, field.Duplicate(at.Index(i), t))
		}
		seen[key] = true
	}
	return errs
}

func warnings(c *nodev1.RuntimeClass) []string {
	if c.Scheduling == nil {
		return nil
	}
	var out []string
	for _, key := range slices.Sorted(maps.Keys(c.Scheduling.NodeSelector)) {
		if advice, old := nodelabels.Deprecated(key); old {
			out = append(out, fmt.Sprintf("%s: %s", field.NewPath("scheduling", "nodeSelector"), advice))
		}
	}
	return out
}
