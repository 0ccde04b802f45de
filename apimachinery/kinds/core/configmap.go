package core

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
)

// maxData bounds the sum of the values of a ConfigMap or a Secret, in bytes.
const maxData = 1 << 20

// ConfigMaps declares v1 ConfigMap.
func ConfigMaps() apimachinery.Resource {
	return apimachinery.Resource{
		Name:       schema.GroupResource{Resource: "configmaps"},
		Namespaced: true,
		New:        func() apimachinery.Object { return &corev1.ConfigMap{} },
		Views: []apimachinery.View{{
			GroupVersionKind: corev1.SchemeGroupVersion.WithKind("ConfigMap"),
			Plural:           "configmaps", Short: []string{"cm"},
			Columns: []apimachinery.Column{
				apimachinery.NameColumn(),
				apimachinery.ColumnOf("Data", "string", func(c *corev1.ConfigMap) any { return int64(len(c.Data) + len(c.BinaryData)) }),
				apimachinery.AgeColumn(),
			},
		}},
		Validate: func(_ context.Context, new, old apimachinery.Object) field.ErrorList {
			errs := append(ValidateFinalizers(new), validateConfigMap(new.(*corev1.ConfigMap))...)
			if old != nil {
				errs = append(errs, validateConfigMapUpdate(new.(*corev1.ConfigMap), old.(*corev1.ConfigMap))...)
			}
			return errs
		},
	}
}

func validateConfigMap(c *corev1.ConfigMap) field.ErrorList {
	var errs field.ErrorList
	total := 0
	for key, value := range c.Data {
		errs = append(errs, validateDataKey(field.NewPath("data").Key(key), key)...)
		if _, twice := c.BinaryData[key]; twice {
			errs = append(errs, field.Invalid(field.NewPath("data").Key(key), key, "stands in binaryData too: a key may be in one of them only"))
		}
		total += len(value)
	}
	for key, value := range c.BinaryData {
		errs = append(errs, validateDataKey(field.NewPath("binaryData").Key(key), key)...)
		total += len(value)
	}
	if total > maxData {
		errs = append(errs, field.TooLong(field.NewPath(""), "", maxData))
	}
	return errs
}

func validateDataKey(path *field.Path, key string) field.ErrorList {
	var errs field.ErrorList
	for _, msg := range utilvalidation.IsConfigMapKey(key) {
		errs = append(errs, field.Invalid(path, key, msg))
	}
	return errs
}

func validateConfigMapUpdate(new, old *corev1.ConfigMap) field.ErrorList {
	if old.Immutable == nil || !*old.Immutable {
		return nil
	}
	var errs field.ErrorList
	if new.Immutable == nil || !*new.Immutable {
		errs = append(errs, immutableSet(field.NewPath("immutable")))
	}
	if !equality.Semantic.DeepEqual(new.Data, old.Data) {
		errs = append(errs, immutableSet(field.NewPath("data")))
	}
	if !equality.Semantic.DeepEqual(new.BinaryData, old.BinaryData) {
		errs = append(errs, immutableSet(field.NewPath("binaryData")))
	}
	return errs
}

func immutableSet(path *field.Path) *field.Error {
	return field.Forbidden(path, "field is immutable when `immutable` is set")
}

func immutable(path *field.Path, value any, what string) *field.Error {
	return field.Invalid(path, value, fmt.Sprintf("field is immutable%s", what))
}
