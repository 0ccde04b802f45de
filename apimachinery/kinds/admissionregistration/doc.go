// Package admissionregistration declares the kinds of admissionregistration.k8s.io/v1, one file each, with defaults,
// validation, columns and status as Kubernetes v1.37 has them: the configurations of webhooks, and the policies in CEL
// with their bindings. Who calls the webhooks and evaluates the policies is elsewhere.
package admissionregistration

import (
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
)

// Config is what the kinds need of others. The zero value works.
type Config struct {
	// Expressions compiles CEL expressions; nil: they are only judged by length and emptiness.
	Expressions apimachinery.ExpressionChecker
}

// Resources returns every kind of this package.
func Resources(c Config) []apimachinery.Resource {
	return []apimachinery.Resource{
		ValidatingWebhookConfigurations(c), MutatingWebhookConfigurations(c),
		ValidatingAdmissionPolicies(c), ValidatingAdmissionPolicyBindings(),
		MutatingAdmissionPolicies(c), MutatingAdmissionPolicyBindings(),
	}
}

var (
	spec   = field.NewPath("spec")
	status = field.NewPath("status")
)

func resource(plural string) schema.GroupResource {
	return schema.GroupResource{Group: admissionregistrationv1.GroupName, Resource: plural}
}

// view is that of a kind: all are listed by "kubectl get api-extensions".
func view(kind, plural string, columns ...apimachinery.Column) []apimachinery.View {
	all := append([]apimachinery.Column{apimachinery.NameColumn()}, columns...)
	return []apimachinery.View{{
		GroupVersionKind: admissionregistrationv1.SchemeGroupVersion.WithKind(kind),
		Plural:           plural, Category: []string{"api-extensions"},
		Columns: append(all, apimachinery.AgeColumn()),
	}}
}

// reserved is the end of the names of what is configured by files at a server's start (KEP-5793).
const reserved = ".static.k8s.io"

const reservedMessage = `names ending with "` + reserved + `" are reserved for static manifest-based configurations and cannot be managed via the API`

// validateNewName refuses reserved names on create.
func validateNewName(new, old apimachinery.Object) field.ErrorList {
	if old != nil || !strings.HasSuffix(new.GetName(), reserved) {
		return nil
	}
	return field.ErrorList{field.Invalid(field.NewPath("metadata", "name"), new.GetName(), reservedMessage)}
}

// warnReserved warns of reserved names of objects that are there already.
func warnReserved(new, old apimachinery.Object) []string {
	if old == nil || !strings.HasSuffix(new.GetName(), reserved) {
		return nil
	}
	return []string{"metadata.name: " + reservedMessage}
}

// supports judges a value that may be left out.
func supports[S ~string](path *field.Path, have *S, supported ...S) field.ErrorList {
	if have == nil {
		return nil
	}
	for _, s := range supported {
		if *have == s {
			return nil
		}
	}
	return field.ErrorList{field.NotSupported(path, *have, supported)}
}

// demands judges a value that must be there; an empty one is no value.
func demands[S ~string](path *field.Path, have *S, supported ...S) field.ErrorList {
	if have == nil {
		return field.ErrorList{field.Required(path, "")}
	}
	return supports(path, have, supported...)
}

func invalid(path *field.Path, value string, messages []string) field.ErrorList {
	var errs field.ErrorList
	for _, msg := range messages {
		errs = append(errs, field.Invalid(path, value, msg))
	}
	return errs
}

func set[T any](p **T, v T) {
	if *p == nil {
		*p = &v
	}
}
