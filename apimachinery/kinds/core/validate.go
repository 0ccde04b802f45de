package core

import (
	"iter"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery/internal/forms"
)

// The fields at fault are named here as Kubernetes names them, which is not always where they are: a client that
// looks for "spec.volumes[0].persistentDisk" finds it.

// ValidateFinalizers judges the finalizers of built-in kinds, which are Kubernetes' own or qualified by a domain. It
// comes on top of what any object's metadata must fulfil.
func ValidateFinalizers(o metav1.Object) field.ErrorList {
	var errs field.ErrorList
	for i, f := range o.GetFinalizers() {
		errs = append(errs, validateFinalizer(f, field.NewPath("metadata", "finalizers").Index(i))...)
	}
	return errs
}

func validateFinalizer(name string, path *field.Path) field.ErrorList {
	known := name == string(corev1.FinalizerKubernetes) || name == metav1.FinalizerOrphanDependents || name == metav1.FinalizerDeleteDependents
	if known || qualified(name) {
		return nil
	}
	return field.ErrorList{field.Invalid(path, name, "name is neither a standard finalizer name nor is it fully qualified")}
}

// qualified says whether a name has a domain prefix.
func qualified(name string) bool { return strings.Contains(name, "/") }

func notOneOf[S ~string](path *field.Path, have S, supported ...S) *field.Error {
	return field.NotSupported(path, have, supported)
}

// oneOf judges a value that must be one of several; none is an error of its own.
func oneOf[S ~string](path *field.Path, have S, supported ...S) field.ErrorList {
	switch {
	case have == "":
		return field.ErrorList{field.Required(path, "")}
	case slices.Contains(supported, have):
		return nil
	}
	return field.ErrorList{notOneOf(path, have, supported...)}
}

func invalid[T any](path *field.Path, value T, messages ...string) field.ErrorList {
	var errs field.ErrorList
	for _, msg := range messages {
		errs = append(errs, field.Invalid(path, value, msg))
	}
	return errs
}

func validateQualifiedName(name string, path *field.Path) field.ErrorList {
	return invalid(path, name, forms.QualifiedName(name)...)
}

// joined are several messages as one.
func joined(messages []string) []string {
	if len(messages) == 0 {
		return nil
	}
	return []string{strings.Join(messages, ";")}
}

// distinct reports the second and later uses of a name.
type distinct map[string]bool

func (d distinct) check(name string, path *field.Path) field.ErrorList {
	if d[name] {
		return field.ErrorList{field.Duplicate(path, name)}
	}
	d[name] = true
	return nil
}

func sortedKeys[K ~string, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// sorted yields a map's items by their keys; those of a small map without allocating.
func sorted[K ~string, V any](m map[K]V) iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		type item struct {
			key   K
			value V
		}
		var few [8]item
		items := few[:0]
		for k, v := range m {
			items = append(items, item{k, v})
		}
		slices.SortFunc(items, func(a, b item) int { return strings.Compare(string(a.key), string(b.key)) })
		for _, i := range items {
			if !yield(i.key, i.value) {
				return
			}
		}
	}
}
