// Package resource declares the kinds of resource.k8s.io/v1, by which pods claim devices, one file each, with defaults,
// validation, columns and status as Kubernetes v1.37 has them. Fields of features that are off there are emptied when
// objects are written. DeviceTaintRule, which v1 has only since then, is in the package taintrule.
package resource

import (
	"context"
	"strings"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
)

// Config is what the kinds need of others. The zero value works.
type Config struct {
	// Expressions compiles the CEL expressions of device selectors, of which the cost must not exceed
	// resourcev1.CELSelectorExpressionMaxCost (else field.Forbidden); nil: they are only judged by length and
	// emptiness.
	Expressions apimachinery.ExpressionChecker
	// AdminAccess says whether claims of a namespace may have access to devices as an administrator has, which its
	// label resource.kubernetes.io/admin-access "true" says. nil: none may.
	AdminAccess func(ctx context.Context, namespace string) (bool, error)
}

// Resources returns every kind of this package.
func Resources(c Config) []apimachinery.Resource {
	return []apimachinery.Resource{ResourceClaims(c), ResourceClaimTemplates(c), DeviceClasses(c), ResourceSlices()}
}

var (
	spec   = field.NewPath("spec")
	status = field.NewPath("status")
)

func groupResource(plural string) schema.GroupResource {
	return schema.GroupResource{Group: resourcev1.GroupName, Resource: plural}
}

func view(kind, plural string, fields []apimachinery.Field, columns ...apimachinery.Column) []apimachinery.View {
	all := append([]apimachinery.Column{apimachinery.NameColumn()}, columns...)
	return []apimachinery.View{{
		GroupVersionKind: resourcev1.SchemeGroupVersion.WithKind(kind),
		Plural:           plural, Columns: append(all, apimachinery.AgeColumn()), Fields: fields,
	}}
}

// each judges the items of a list; of one that is too long it looks at none. most below 0 is no bound.
func each[T any](list []T, most int, at *field.Path, judge func(*T, *field.Path) field.ErrorList) field.ErrorList {
	if most >= 0 && len(list) > most {
		return field.ErrorList{field.TooMany(at, len(list), most)}
	}
	var errs field.ErrorList
	for i := range list {
		errs = append(errs, judge(&list[i], at.Index(i))...)
	}
	return errs
}

// eachOnce is each for lists in which no two items have the same key.
func eachOnce[T any, K comparable](list []T, most int, at *field.Path, key func(*T) K, judge func(*T, *field.Path) field.ErrorList) field.ErrorList {
	errs := each(list, most, at, judge)
	if most >= 0 && len(list) > most {
		return errs
	}
	seen := make(map[K]bool, len(list))
	for i := range list {
		k := key(&list[i])
		if seen[k] {
			errs = append(errs, field.Duplicate(at.Index(i), k))
		}
		seen[k] = true
	}
	return errs
}

// itself is the key of an item that is one.
func itself(s *string) string { return *s }

// judged adapts a judgement of strings to lists of them.
func judged(judge func(string, *field.Path) field.ErrorList) func(*string, *field.Path) field.ErrorList {
	return func(s *string, at *field.Path) field.ErrorList { return judge(*s, at) }
}

func invalid(at *field.Path, value string, messages []string) field.ErrorList {
	var errs field.ErrorList
	for _, msg := range messages {
		errs = append(errs, field.Invalid(at, value, msg))
	}
	return errs
}

// exactlyOne judges how many of some alternatives are there.
func exactlyOne(there []string, at *field.Path, rule string) field.ErrorList {
	switch len(there) {
	case 0:
		return field.ErrorList{field.Required(at, rule)}
	case 1:
		return nil
	}
	return field.ErrorList{field.Invalid(at, "{"+strings.Join(there, ", ")+"}", rule+", but multiple fields are set")}
}
