// Package flowcontrol declares the kinds of flowcontrol.apiserver.k8s.io/v1, one file each, with defaults, validation,
// columns and status as Kubernetes v1.37 has them: FlowSchema, which sorts requests, and PriorityLevelConfiguration,
// which says how many of a sort are served at once. [Bootstrap] returns those that every cluster has. Who holds
// requests back is elsewhere.
package flowcontrol

import (
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
)

// Resources returns every kind of this package.
func Resources() []apimachinery.Resource {
	return []apimachinery.Resource{FlowSchemas(), PriorityLevelConfigurations()}
}

var (
	spec   = field.NewPath("spec")
	status = field.NewPath("status")
)

func resource(plural string) schema.GroupResource {
	return schema.GroupResource{Group: flowcontrolv1.GroupName, Resource: plural}
}

// validateConditions judges a status by the types of its conditions.
func validateConditions(types []string) field.ErrorList {
	var errs field.ErrorList
	seen := map[string]bool{}
	for i, t := range types {
		at := status.Child("conditions").Index(i).Child("type")
		if seen[t] {
			errs = append(errs, field.Duplicate(at, t))
		}
		if seen[t] = true; t == "" {
			errs = append(errs, field.Required(at, ""))
		}
	}
	return errs
}

func invalid(path *field.Path, value string, messages []string) field.ErrorList {
	var errs field.ErrorList
	for _, msg := range messages {
		errs = append(errs, field.Invalid(path, value, msg))
	}
	return errs
}
