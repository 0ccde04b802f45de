package flowcontrol

import (
	"context"
	"fmt"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/internal/same"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
)

var sameSchema = same.Func[flowcontrolv1.FlowSchemaSpec]()

// FlowSchemas declares flowcontrol.apiserver.k8s.io/v1 FlowSchema.
func FlowSchemas() apimachinery.Resource {
	type kind = *flowcontrolv1.FlowSchema
	fixed := mandatorySchemas()
	return apimachinery.Resource{
		Name: resource("flowschemas"),
		New:  func() apimachinery.Object { return &flowcontrolv1.FlowSchema{} },
		Views: []apimachinery.View{{
			GroupVersionKind: flowcontrolv1.SchemeGroupVersion.WithKind("FlowSchema"),
			Plural:           "flowschemas",
			Columns: []apimachinery.Column{
				apimachinery.NameColumn(),
				apimachinery.ColumnOf("PriorityLevel", "string", func(f kind) any { return f.Spec.PriorityLevelConfiguration.Name }),
				apimachinery.ColumnOf("MatchingPrecedence", "string", func(f kind) any { return int64(f.Spec.MatchingPrecedence) }),
				apimachinery.ColumnOf("DistinguisherMethod", "string", func(f kind) any { return distinguisher(f) }),
				apimachinery.AgeColumn(),
				apimachinery.ColumnOf("MissingPL", "string", func(f kind) any { return dangling(f) }),
			},
		}},
		Default: func(o apimachinery.Object) {
			if s := &o.(kind).Spec; s.MatchingPrecedence == 0 {
				s.MatchingPrecedence = 1000
			}
		},
		Prepare: func(_ context.Context, new, old apimachinery.Object) {
			n := new.(kind)
			if old == nil {
				n.Status, n.Generation = flowcontrolv1.FlowSchemaStatus{}, 1
				return
			}
			if n.Status = old.(kind).Status; !sameSchema(&n.Spec, &old.(kind).Spec) {
				n.Generation = old.GetGeneration() + 1
			}
		},
		Validate: func(_ context.Context, new, _ apimachinery.Object) field.ErrorList {
			n := new.(kind)
			errs := append(core.ValidateFinalizers(n), validateSchema(n)...)
			if m := fixed[n.Name]; m != nil && !sameSchema(&n.Spec, &m.Spec) {
				errs = append(errs, field.Invalid(spec, n.Spec, fmt.Sprintf("spec of '%s' must equal the fixed value", n.Name)))
			}
			return append(errs, validateConditions(schemaConditions(n))...)
		},
		Subs: map[string]apimachinery.Subresource{
			"status": {
				Verbs: []string{apimachinery.VerbGet, apimachinery.VerbPatch, apimachinery.VerbUpdate},
				Strategy: &apimachinery.Strategy{
					Owned: []string{"status"},
					Prepare: func(_ context.Context, new, old apimachinery.Object) {
						new.(kind).Spec = old.(kind).Spec
						keepMeta(&new.(kind).ObjectMeta, &old.(kind).ObjectMeta)
					},
					Validate: func(_ context.Context, new, _ apimachinery.Object) field.ErrorList {
						return validateConditions(schemaConditions(new.(kind)))
					},
				},
			},
		},
	}
}

// keepMeta leaves who owns what, and the revision that the writer saw, as they are; all else becomes what it was.
func keepMeta(new, old *metav1.ObjectMeta) {
	managed, version := new.ManagedFields, new.ResourceVersion
	*new = *old.DeepCopy()
	new.ManagedFields, new.ResourceVersion = managed, version
}

func schemaConditions(f *flowcontrolv1.FlowSchema) []string {
	var out []string
	for _, c := range f.Status.Conditions {
		out = append(out, string(c.Type))
	}
	return out
}

func distinguisher(f *flowcontrolv1.FlowSchema) string {
	if d := f.Spec.DistinguisherMethod; d != nil {
		return string(d.Type)
	}
	return "<none>"
}

func dangling(f *flowcontrolv1.FlowSchema) string {
	for _, c := range f.Status.Conditions {
		if c.Type == flowcontrolv1.FlowSchemaConditionDangling {
			return string(c.Status)
		}
	}
	return "?"
}

func validateSchema(f *flowcontrolv1.FlowSchema) field.ErrorList {
	s := &f.Spec
	errs := validatePrecedence(s.MatchingPrecedence, f.Name, spec.Child("matchingPrecedence"))
	if d := s.DistinguisherMethod; d != nil && d.Type != flowcontrolv1.FlowDistinguisherMethodByNamespaceType && d.Type != flowcontrolv1.FlowDistinguisherMethodByUserType {
		errs = append(errs, field.NotSupported(spec.Child("distinguisherMethod", "type"), d, []flowcontrolv1.FlowDistinguisherMethodType{
			flowcontrolv1.FlowDistinguisherMethodByNamespaceType, flowcontrolv1.FlowDistinguisherMethodByUserType,
		}))
	}
	at, level := spec.Child("priorityLevelConfiguration", "name"), s.PriorityLevelConfiguration.Name
	if level == "" {
		errs = append(errs, field.Required(at, "must reference a priority level"))
	} else {
		errs = append(errs, invalid(at, level, validation.NameIsDNSSubdomain(level, false))...)
	}
	for i := range s.Rules {
		errs = append(errs, validateRules(&s.Rules[i], spec.Child("rules").Index(i))...)
	}
	return errs
}

const maxPrecedence = 10000

func validatePrecedence(n int32, name string, at *field.Path) field.ErrorList {
	switch {
	case n <= 0:
		return field.ErrorList{field.Invalid(at, n, "must be a positive value")}
	case n > maxPrecedence:
		return field.ErrorList{field.Invalid(at, n, fmt.Sprintf("must not be greater than %v", maxPrecedence))}
	case n == 1 && name != flowcontrolv1.FlowSchemaNameExempt:
		return field.ErrorList{field.Invalid(at, n, "only the schema named 'exempt' may have matchingPrecedence 1")}
	}
	return nil
}
