package define

import (
	"context"

	"github.com/bedplate/bedplate/apimachinery"
)

// Defaulter is controller-runtime's admission.Defaulter: T is the kind's Go type, or runtime.Object.
type Defaulter[T any] interface {
	Default(ctx context.Context, o T) error
}

// Validator is controller-runtime's admission.Validator: T is the kind's Go type, or runtime.Object, and W its Warnings.
type Validator[T any, W ~[]string] interface {
	ValidateCreate(ctx context.Context, o T) (W, error)
	ValidateUpdate(ctx context.Context, old, new T) (W, error)
	ValidateDelete(ctx context.Context, o T) (W, error)
}

// Defaulting makes an admission plugin of a defaulter that was written for a webhook: it sees objects of the kind of a
// Resource, in the Go type that is stored, when they are created or updated as a whole. admission.RequestFromContext finds nothing, as there
// is no request to a webhook; apimachinery.UserFrom has the user.
func Defaulting[T any](res apimachinery.Resource, d Defaulter[T]) apimachinery.Plugin {
	return apimachinery.Plugin{Name: res.Name.String() + " defaults", Mutate: &defaulting[T]{res.Views, d}}
}

// Validating makes an admission plugin of a validator that was written for a webhook. As there, an error with a status
// is the answer, and any other is Forbidden.
func Validating[T any, W ~[]string](res apimachinery.Resource, v Validator[T, W]) apimachinery.Plugin {
	return apimachinery.Plugin{Name: res.Name.String() + " validation", Validate: &validating[T, W]{res.Views, v}}
}

func concerns(views []apimachinery.View, a *apimachinery.Admission) bool {
	if a.Sub != "" {
		return false
	}
	for i := range views {
		if views[i].Resource() == a.Resource {
			return true
		}
	}
	return false
}

type defaulting[T any] struct {
	views []apimachinery.View
	by    Defaulter[T]
}

// Mutate implements apimachinery.Mutator.
func (d *defaulting[T]) Mutate(ctx context.Context, a *apimachinery.Admission) error {
	if o, ok := any(a.Object).(T); ok && concerns(d.views, a) && (a.Operation == "CREATE" || a.Operation == "UPDATE") {
		return d.by.Default(apimachinery.WithUser(ctx, a.User), o)
	}
	return nil
}

type validating[T any, W ~[]string] struct {
	views []apimachinery.View
	by    Validator[T, W]
}

// Validate implements apimachinery.Validator.
func (v *validating[T, W]) Validate(ctx context.Context, a *apimachinery.Admission) error {
	if !concerns(v.views, a) {
		return nil
	}
	ctx = apimachinery.WithUser(ctx, a.User)
	var warnings W
	var err error
	now, isNow := any(a.Object).(T)
	old, isOld := any(a.Old).(T)
	switch {
	case a.Operation == "CREATE" && isNow:
		warnings, err = v.by.ValidateCreate(ctx, now)
	case a.Operation == "UPDATE" && isNow && isOld:
		warnings, err = v.by.ValidateUpdate(ctx, old, now)
	case a.Operation == "DELETE" && isOld:
		warnings, err = v.by.ValidateDelete(ctx, old)
	}
	for _, w := range warnings {
		if a.Warn != nil {
			a.Warn(w)
		}
	}
	return err
}
