package flowcontrol

import (
	"context"
	"fmt"
	"math"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/internal/same"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
)

var sameLevel = same.Func[flowcontrolv1.PriorityLevelConfigurationSpec]()

// PriorityLevelConfigurations declares flowcontrol.apiserver.k8s.io/v1 PriorityLevelConfiguration.
func PriorityLevelConfigurations() apimachinery.Resource {
	type kind = *flowcontrolv1.PriorityLevelConfiguration
	return apimachinery.Resource{
		Name: resource("prioritylevelconfigurations"),
		New:  func() apimachinery.Object { return &flowcontrolv1.PriorityLevelConfiguration{} },
		Views: []apimachinery.View{{
			GroupVersionKind: flowcontrolv1.SchemeGroupVersion.WithKind("PriorityLevelConfiguration"),
			Plural:           "prioritylevelconfigurations",
			Columns:          levelColumns(),
		}},
		Default: func(o apimachinery.Object) { defaultLevel(&o.(kind).Spec) },
		Prepare: func(_ context.Context, new, old apimachinery.Object) {
			n := new.(kind)
			if old == nil {
				n.Status, n.Generation = flowcontrolv1.PriorityLevelConfigurationStatus{}, 1
				return
			}
			if n.Status = old.(kind).Status; !sameLevel(&n.Spec, &old.(kind).Spec) {
				n.Generation = old.GetGeneration() + 1
			}
		},
		Validate: func(_ context.Context, new, _ apimachinery.Object) field.ErrorList {
			n := new.(kind)
			errs := append(core.ValidateFinalizers(n), validateAnnotations(n)...)
			errs = append(errs, validateLevel(&n.Spec, n.Name)...)
			errs = append(errs, validateFixed(n)...)
			return append(errs, validateConditions(levelConditions(n))...)
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
						return validateConditions(levelConditions(new.(kind)))
					},
				},
			},
		},
	}
}

func levelConditions(p *flowcontrolv1.PriorityLevelConfiguration) []string {
	var out []string
	for _, c := range p.Status.Conditions {
		out = append(out, string(c.Type))
	}
	return out
}

func levelColumns() []apimachinery.Column {
	type kind = *flowcontrolv1.PriorityLevelConfiguration
	limited := func(name string, of func(*flowcontrolv1.LimitedPriorityLevelConfiguration) *int32) apimachinery.Column {
		return apimachinery.ColumnOf(name, "string", func(p kind) any {
			if l := p.Spec.Limited; l != nil {
				if n := of(l); n != nil {
					return *n
				}
			}
			return "<none>"
		})
	}
	queued := func(name string, of func(*flowcontrolv1.QueuingConfiguration) int32) apimachinery.Column {
		return limited(name, func(l *flowcontrolv1.LimitedPriorityLevelConfiguration) *int32 {
			q := l.LimitResponse.Queuing
			if q == nil {
				return nil
			}
			n := of(q)
			return &n
		})
	}
	return []apimachinery.Column{
		apimachinery.NameColumn(),
		apimachinery.ColumnOf("Type", "string", func(p kind) any { return string(p.Spec.Type) }),
		limited("NominalConcurrencyShares", func(l *flowcontrolv1.LimitedPriorityLevelConfiguration) *int32 { return l.NominalConcurrencyShares }),
		queued("Queues", func(q *flowcontrolv1.QueuingConfiguration) int32 { return q.Queues }),
		queued("HandSize", func(q *flowcontrolv1.QueuingConfiguration) int32 { return q.HandSize }),
		queued("QueueLengthLimit", func(q *flowcontrolv1.QueuingConfiguration) int32 { return q.QueueLengthLimit }),
		apimachinery.AgeColumn(),
	}
}

func defaultLevel(s *flowcontrolv1.PriorityLevelConfigurationSpec) {
	if e := s.Exempt; e != nil {
		set(&e.NominalConcurrencyShares, 0)
		set(&e.LendablePercent, 0)
	}
	l := s.Limited
	if l == nil {
		return
	}
	set(&l.NominalConcurrencyShares, 30)
	set(&l.LendablePercent, 0)
	if q := l.LimitResponse.Queuing; q != nil {
		setNumber(&q.HandSize, 8)
		setNumber(&q.Queues, 64)
		setNumber(&q.QueueLengthLimit, 50)
	}
}

func set(p **int32, v int32) {
	if *p == nil {
		*p = &v
	}
}

func setNumber(p *int32, v int32) {
	if *p == 0 {
		*p = v
	}
}

// preserveZero is an annotation of older versions, which have no other way to tell zero from unset.
const preserveZero = "flowcontrol.k8s.io/v1beta3-preserve-zero-concurrency-shares"

func validateAnnotations(p *flowcontrolv1.PriorityLevelConfiguration) field.ErrorList {
	if _, ok := p.Annotations[preserveZero]; !ok {
		return nil
	}
	return field.ErrorList{field.Forbidden(field.NewPath("metadata", "annotations"), "annotation '"+preserveZero+"' is forbidden")}
}

// validateFixed holds the two levels that every cluster has to their values; of exempt, its shares may change.
func validateFixed(p *flowcontrolv1.PriorityLevelConfiguration) field.ErrorList {
	m, have := mandatoryLevel(p.Name), p.Spec
	if m == nil {
		return nil
	}
	what := "spec of '" + p.Name + "'"
	if p.Name == flowcontrolv1.PriorityLevelConfigurationNameExempt {
		what, have.Exempt = what+" except the 'spec.exempt' field", m.Spec.Exempt
	}
	if sameLevel(&have, &m.Spec) {
		return nil
	}
	return field.ErrorList{field.Invalid(spec, p.Spec, what+" must equal the fixed value")}
}

func validateLevel(s *flowcontrolv1.PriorityLevelConfigurationSpec, name string) field.ErrorList {
	var errs field.ErrorList
	exempt := s.Type == flowcontrolv1.PriorityLevelEnablementExempt
	if (name == flowcontrolv1.PriorityLevelConfigurationNameExempt) != exempt {
		errs = append(errs, field.Invalid(spec.Child("type"), s.Type, "must be 'Exempt' if and only if `name` is 'exempt'"))
	}
	switch {
	case exempt:
		if s.Limited != nil {
			errs = append(errs, field.Forbidden(spec.Child("limited"), "must be nil if the type is not Limited"))
		}
		if e := s.Exempt; e != nil {
			errs = append(errs, notNegative(e.NominalConcurrencyShares, spec.Child("exempt", "nominalConcurrencyShares"))...)
			errs = append(errs, validatePercent(e.LendablePercent, spec.Child("exempt", "lendablePercent"))...)
		}
	case s.Type == flowcontrolv1.PriorityLevelEnablementLimited:
		if s.Exempt != nil {
			errs = append(errs, field.Forbidden(spec.Child("exempt"), "must be nil if the type is Limited"))
		}
		if s.Limited == nil {
			return append(errs, field.Required(spec.Child("limited"), "must not be empty when type is Limited"))
		}
		errs = append(errs, validateLimited(s.Limited, spec.Child("limited"))...)
	case s.Type == "":
		errs = append(errs, field.Required(spec.Child("type"), ""))
	default:
		errs = append(errs, field.NotSupported(spec.Child("type"), s.Type, []flowcontrolv1.PriorityLevelEnablement{
			flowcontrolv1.PriorityLevelEnablementExempt, flowcontrolv1.PriorityLevelEnablementLimited,
		}))
	}
	return errs
}

func notNegative(n *int32, at *field.Path) field.ErrorList {
	if n == nil || *n >= 0 {
		return nil
	}
	return field.ErrorList{field.Invalid(at, *n, "must be a non-negative integer")}
}

func validatePercent(n *int32, at *field.Path) field.ErrorList {
	if n == nil || *n >= 0 && *n <= 100 {
		return nil
	}
	return field.ErrorList{field.Invalid(at, *n, "must be between 0 and 100, inclusive")}
}

func validateLimited(l *flowcontrolv1.LimitedPriorityLevelConfiguration, at *field.Path) field.ErrorList {
	errs := notNegative(l.NominalConcurrencyShares, at.Child("nominalConcurrencyShares"))
	errs = append(errs, validateResponse(&l.LimitResponse, at.Child("limitResponse"))...)
	errs = append(errs, validatePercent(l.LendablePercent, at.Child("lendablePercent"))...)
	return append(errs, notNegative(l.BorrowingLimitPercent, at.Child("borrowingLimitPercent"))...)
}

func validateResponse(r *flowcontrolv1.LimitResponse, at *field.Path) field.ErrorList {
	queuing := at.Child("queuing")
	switch r.Type {
	case flowcontrolv1.LimitResponseTypeReject:
		if r.Queuing != nil {
			return field.ErrorList{field.Forbidden(queuing, "must be nil if the type is not Queue")}
		}
		return nil
	case flowcontrolv1.LimitResponseTypeQueue:
		if r.Queuing == nil {
			return field.ErrorList{field.Required(queuing, "must not be empty if the type is Queue")}
		}
		return validateQueuing(r.Queuing, queuing)
	case "":
		return field.ErrorList{field.Required(at.Child("type"), "")}
	}
	return field.ErrorList{field.NotSupported(at.Child("type"), r.Type, []flowcontrolv1.LimitResponseType{
		flowcontrolv1.LimitResponseTypeQueue, flowcontrolv1.LimitResponseTypeReject,
	})}
}

const (
	maxQueues = 10_000_000
	// maxHashBits are those of a flow's hash that may be used up by dealing it queues.
	maxHashBits = 60
)

func validateQueuing(q *flowcontrolv1.QueuingConfiguration, at *field.Path) field.ErrorList {
	errs := positive(q.QueueLengthLimit, at.Child("queueLengthLimit"))
	errs = append(errs, positive(q.Queues, at.Child("queues"))...)
	if q.Queues > maxQueues {
		errs = append(errs, field.Invalid(at.Child("queues"), q.Queues, fmt.Sprintf("must not be greater than %d", maxQueues)))
	}
	hand := at.Child("handSize")
	switch {
	case q.HandSize <= 0:
		errs = append(errs, positive(q.HandSize, hand)...)
	case q.HandSize > q.Queues:
		errs = append(errs, field.Invalid(hand, q.HandSize, fmt.Sprintf("should not be greater than queues (%d)", q.Queues)))
	case math.Ceil(math.Log2(float64(q.Queues))*float64(q.HandSize)) > maxHashBits:
		errs = append(errs, field.Invalid(hand, q.HandSize, fmt.Sprintf(
			"required entropy bits of deckSize %d and handSize %d should not be greater than %d", q.Queues, q.HandSize, maxHashBits)))
	}
	return errs
}

func positive(n int32, at *field.Path) field.ErrorList {
	if n > 0 {
		return nil
	}
	return field.ErrorList{field.Invalid(at, n, "must be positive")}
}
