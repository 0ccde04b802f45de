package apps

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
)

// ControllerRevisions declares apps/v1 ControllerRevision: a template as it once was.
func ControllerRevisions() apimachinery.Resource {
	return apimachinery.Resource{
		Name:       schema.GroupResource{Group: appsv1.GroupName, Resource: "controllerrevisions"},
		Namespaced: true,
		New:        func() apimachinery.Object { return &appsv1.ControllerRevision{} },
		Views: []apimachinery.View{{
			GroupVersionKind: appsv1.SchemeGroupVersion.WithKind("ControllerRevision"),
			Plural:           "controllerrevisions",
			Columns: []apimachinery.Column{
				apimachinery.NameColumn(),
				apimachinery.ColumnOf("Controller", "string", func(r *appsv1.ControllerRevision) any { return controllerOf(r) }),
				apimachinery.ColumnOf("Revision", "string", func(r *appsv1.ControllerRevision) any { return r.Revision }),
				apimachinery.AgeColumn(),
			},
		}},
		Validate: func(_ context.Context, new, old apimachinery.Object) field.ErrorList {
			n := new.(*appsv1.ControllerRevision)
			errs := append(core.ValidateFinalizers(n), notNegative(n.Revision, field.NewPath("revision"))...)
			if old == nil {
				return append(errs, validateRevisionData(n.Data.Raw)...)
			}
			if !sameJSON(n.Data.Raw, old.(*appsv1.ControllerRevision).Data.Raw) {
				errs = append(errs, field.Invalid(field.NewPath("data"), n.Data, validation.FieldImmutableErrorMsg))
			}
			return errs
		},
	}
}

func controllerOf(r *appsv1.ControllerRevision) string {
	ref := metav1.GetControllerOf(r)
	if ref == nil {
		return "<none>"
	}
	kind := schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind).GroupKind()
	if kind.Empty() {
		return ref.Name
	}
	return strings.ToLower(kind.String()) + "/" + ref.Name
}

// sameJSON compares data but for white space, which storing it takes out.
func sameJSON(a, b []byte) bool {
	var x, y bytes.Buffer
	if json.Compact(&x, a) != nil || json.Compact(&y, b) != nil {
		return bytes.Equal(a, b)
	}
	return bytes.Equal(x.Bytes(), y.Bytes())
}

func validateRevisionData(raw []byte) field.ErrorList {
	path := field.NewPath("data")
	var data any
	if raw != nil {
		if err := json.Unmarshal(raw, &data); err != nil {
			return field.ErrorList{field.Invalid(path, "<value omitted>", fmt.Sprintf("error parsing data: %v", err))}
		}
	}
	switch data.(type) {
	case nil:
		return field.ErrorList{field.Required(path, "data is mandatory")}
	case map[string]any:
		return nil
	}
	return field.ErrorList{field.Required(path, "data must be a valid JSON object")}
}
