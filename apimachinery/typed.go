package apimachinery

import (
	"context"
	"reflect"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Typed is a whole kind made of its Spec and Status, without generated code. Declare a kind as an alias:
//
//	type Database = apimachinery.Typed[DatabaseSpec, DatabaseStatus]
//
// Only an alias works: a defined type over Typed has no methods, and a struct that embeds it copies as the
// wrong type. Spec and Status are deep-copied by their own DeepCopyInto where they have one, else by reflection
// (exported fields; channels and functions are shared).
//
// Defaults and validation are methods of *Spec: see [Defaulter], [SpecValidator] and [SpecUpdateValidator].
type Typed[Spec, Status any] struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              Spec   `json:"spec,omitempty"`
	Status            Status `json:"status,omitempty"`
}

// DeepCopyObject returns a deep copy, for runtime.Object.
func (t *Typed[Spec, Status]) DeepCopyObject() runtime.Object { return t.DeepCopy() }

// DeepCopy returns a deep copy.
func (t *Typed[Spec, Status]) DeepCopy() *Typed[Spec, Status] {
	out := &Typed[Spec, Status]{TypeMeta: t.TypeMeta}
	t.ObjectMeta.DeepCopyInto(&out.ObjectMeta)
	copyInto(&t.Spec, &out.Spec)
	copyInto(&t.Status, &out.Status)
	return out
}

// Defaulter is a Spec that fills in what was left out. It must be idempotent.
type Defaulter interface{ Default() }

// SpecValidator is a Spec that judges itself; path is where it stands in the object ("spec"). It is asked after
// [Defaulter], so it may rely on what that fills in.
type SpecValidator interface {
	Validate(path *field.Path) field.ErrorList
}

// SpecUpdateValidator is a Spec that judges a change of itself; it is asked besides [SpecValidator].
type SpecUpdateValidator[Spec any] interface {
	ValidateUpdate(old *Spec, path *field.Path) field.ErrorList
}

// Define returns the Resource of a kind that is a [Typed]: namespaced, with a status subresource, a generation
// that counts changes of the spec, and the Spec's own defaults and validation. The caller may change the result.
//
// It is for kinds that methods describe. Package define does more, and for any Go type: there, tags declare limits,
// defaults, rules and columns, which Define doesn't heed, and there are versions, scale and a definition for others.
func Define[Spec, Status any](kind schema.GroupVersionKind, plural string) Resource {
	type object = Typed[Spec, Status]
	return Resource{
		Name:       schema.GroupResource{Group: kind.Group, Resource: plural},
		Prefix:     kind.Group + "/" + plural,
		Namespaced: true,
		New:        func() Object { return &object{} },
		Views:      []View{{GroupVersionKind: kind, Plural: plural}},
		Default: func(o Object) {
			if d, ok := any(&o.(*object).Spec).(Defaulter); ok {
				d.Default()
			}
		},
		Prepare: func(_ context.Context, new, old Object) {
			n := new.(*object)
			if old == nil {
				n.Generation = 1
				n.Status = *reflect.New(reflect.TypeFor[Status]()).Interface().(*Status)
				return
			}
			o := old.(*object)
			n.Status, n.Generation = o.Status, o.Generation
			if !equality.Semantic.DeepEqual(n.Spec, o.Spec) {
				n.Generation++
			}
		},
		Validate: func(_ context.Context, new, old Object) field.ErrorList {
			return validateSpec[Spec](&new.(*object).Spec, specOf[Spec, Status](old))
		},
		Subs: map[string]Subresource{"status": {
			Verbs: []string{VerbGet, VerbPatch, VerbUpdate},
			Strategy: &Strategy{
				Owned: []string{"status"},
				Prepare: func(_ context.Context, new, old Object) {
					n, o := new.(*object), old.(*object)
					n.Spec, n.Generation = o.Spec, o.Generation
					KeepMeta(n, o)
				},
			},
		}},
	}
}

func specOf[Spec, Status any](o Object) *Spec {
	if o == nil {
		return nil
	}
	return &o.(*Typed[Spec, Status]).Spec
}

func validateSpec[Spec any](new, old *Spec) field.ErrorList {
	path := field.NewPath("spec")
	var errs field.ErrorList
	if v, ok := any(new).(SpecValidator); ok {
		errs = v.Validate(path)
	}
	if v, ok := any(new).(SpecUpdateValidator[Spec]); ok && old != nil {
		errs = append(errs, v.ValidateUpdate(old, path)...)
	}
	return errs
}

// KeepMeta carries the metadata that a status writer may not change from old to new: labels, annotations,
// finalizers and owners. (Name, uid and the rest are kept by the server in any case.)
func KeepMeta(new, old metav1.Object) {
	new.SetLabels(old.GetLabels())
	new.SetAnnotations(old.GetAnnotations())
	new.SetFinalizers(old.GetFinalizers())
	new.SetOwnerReferences(old.GetOwnerReferences())
}
