// Package scheduling declares the kinds of scheduling.k8s.io: PriorityClass, as Kubernetes v1.37 has it. What it does
// to pods is in admission/priority.
package scheduling

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
)

const (
	// HighestUserPriority is the most that a class of a user's own may be worth.
	HighestUserPriority = 1_000_000_000
	// Names that begin with SystemPrefix are Kubernetes' own.
	SystemPrefix = "system-"
)

// Resources returns every kind of this package.
func Resources() []apimachinery.Resource { return []apimachinery.Resource{PriorityClasses()} }

// SystemPriorityClasses are those that every cluster has; each call returns its own.
func SystemPriorityClasses() []*schedulingv1.PriorityClass {
	of := func(name string, value int32, description string) *schedulingv1.PriorityClass {
		return &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Value: value, Description: description}
	}
	return []*schedulingv1.PriorityClass{
		of("system-node-critical", 2*HighestUserPriority+1000, "For pods that a node needs and that must stay where they are."),
		of("system-cluster-critical", 2*HighestUserPriority, "For pods that the cluster needs and that may move to another node."),
	}
}

// PriorityClasses declares scheduling.k8s.io/v1 PriorityClass. Value and preemptionPolicy are immutable.
func PriorityClasses() apimachinery.Resource {
	type class = *schedulingv1.PriorityClass
	return apimachinery.Resource{
		Name:   schema.GroupResource{Group: schedulingv1.GroupName, Resource: "priorityclasses"},
		Prefix: "priorityclasses",
		New:    func() apimachinery.Object { return &schedulingv1.PriorityClass{} },
		Views: []apimachinery.View{{
			GroupVersionKind: schedulingv1.SchemeGroupVersion.WithKind("PriorityClass"),
			Plural:           "priorityclasses", Short: []string{"pc"},
			Columns: []apimachinery.Column{
				apimachinery.NameColumn(),
				apimachinery.ColumnOf("Value", "integer", func(c class) any { return int64(c.Value) }),
				apimachinery.ColumnOf("Global-Default", "boolean", func(c class) any { return c.GlobalDefault }),
				apimachinery.AgeColumn(),
				apimachinery.ColumnOf("PreemptionPolicy", "string", func(c class) any {
					if c.PreemptionPolicy == nil {
						return ""
					}
					return string(*c.PreemptionPolicy)
				}),
			},
		}},
		Default: func(o apimachinery.Object) {
			if c := o.(class); c.PreemptionPolicy == nil {
				lower := corev1.PreemptLowerPriority
				c.PreemptionPolicy = &lower
			}
		},
		Prepare: func(_ context.Context, new, old apimachinery.Object) {
			if old == nil {
				new.SetGeneration(1)
			}
		},
		Validate: func(_ context.Context, new, old apimachinery.Object) field.ErrorList {
			n := new.(class)
			errs := core.ValidateFinalizers(n)
			if o, ok := old.(class); ok {
				if n.Value != o.Value {
					errs = append(errs, field.Forbidden(field.NewPath("value"), "may not be changed in an update."))
				}
				return append(errs, validation.ValidateImmutableField(n.PreemptionPolicy, o.PreemptionPolicy, field.NewPath("preemptionPolicy"))...)
			}
			return append(append(errs, validateWorth(n)...), validatePreemption(n.PreemptionPolicy)...)
		},
	}
}

func validateWorth(c *schedulingv1.PriorityClass) field.ErrorList {
	if !strings.HasPrefix(c.Name, SystemPrefix) {
		if c.Value > HighestUserPriority {
			return field.ErrorList{field.Forbidden(field.NewPath("value"), fmt.Sprintf("maximum allowed value of a user defined priority is %d", HighestUserPriority))}
		}
		return nil
	}
	why := fmt.Sprintf("%s is not one of them", c.Name)
	for _, s := range SystemPriorityClasses() {
		switch {
		case s.Name != c.Name:
			continue
		case s.Value != c.Value:
			why = fmt.Sprintf("the value of %s is %d", s.Name, s.Value)
		case c.GlobalDefault:
			why = fmt.Sprintf("%s is not a global default", s.Name)
		default:
			return nil
		}
	}
	return field.ErrorList{field.Forbidden(field.NewPath("metadata", "name"), "names with the prefix '"+SystemPrefix+"' are those of the system's own classes: "+why)}
}

func validatePreemption(p *corev1.PreemptionPolicy) field.ErrorList {
	at := field.NewPath("preemptionPolicy")
	switch {
	case p == nil || *p == corev1.PreemptLowerPriority || *p == corev1.PreemptNever:
		return nil
	case *p == "":
		return field.ErrorList{field.Required(at, "")}
	}
	return field.ErrorList{field.NotSupported(at, *p, []corev1.PreemptionPolicy{corev1.PreemptLowerPriority, corev1.PreemptNever})}
}
