package define

import (
	"context"
	"reflect"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/cel"
)

// hub has the hooks of a kind: they see objects of the Go type that is stored.
type hub struct {
	*model
	kind *Kind
	gvk  schema.GroupVersionKind
}

func (h *hub) field(o apimachinery.Object, index []int) reflect.Value {
	return reflect.ValueOf(o).Elem().FieldByIndex(index)
}

// setDefaults is Resource.Default: tags first, then the Spec's own method, then the kind's function.
func (h *hub) setDefaults(o apimachinery.Object) {
	h.fill.apply(reflect.ValueOf(o))
	if d, ok := any(o).(apimachinery.Defaulter); ok {
		d.Default()
	}
	if h.spec != nil {
		if d, ok := h.field(o, h.spec).Addr().Interface().(apimachinery.Defaulter); ok {
			d.Default()
		}
	}
	if h.kind.Default != nil {
		h.kind.Default(o)
	}
}

// prepare is Resource.Prepare: it keeps the status from writers of the whole where that is a subresource, and counts the
// generation, of all that is not metadata.
func (h *hub) prepare(_ context.Context, new, old apimachinery.Object) {
	if h.status != nil {
		if status := h.field(new, h.status); old == nil {
			status.SetZero()
		} else {
			status.Set(h.field(old, h.status))
		}
	}
	if old == nil {
		new.SetGeneration(1)
		return
	}
	new.SetGeneration(old.GetGeneration())
	for _, index := range h.parts {
		if !equality.Semantic.DeepEqual(h.field(new, index).Interface(), h.field(old, index).Interface()) {
			new.SetGeneration(old.GetGeneration() + 1)
			return
		}
	}
}

// prepareStatus keeps all but the status from its writers.
func (h *hub) prepareStatus(_ context.Context, new, old apimachinery.Object) {
	for _, index := range h.parts {
		if !equal(index, h.status) {
			h.field(new, index).Set(h.field(old, index))
		}
	}
	new.SetGeneration(old.GetGeneration())
	apimachinery.KeepMeta(new, old)
}

func equal(a, b []int) bool { return reflect.DeepEqual(a, b) }

// validate is Resource.Validate: tags first, then the Spec's own methods, then the kind's function.
func (h *hub) validate(ctx context.Context, new, old apimachinery.Object) field.ErrorList {
	errs := h.tagged(ctx, new, old, func(n, o map[string]any) field.ErrorList {
		if o == nil {
			return h.schema.Validate(nil, n, nil)
		}
		return h.schema.Validate(nil, n, o)
	})
	if h.spec != nil {
		errs = append(errs, judgeSpec(h.field(new, h.spec), h.before(old))...)
	}
	if h.kind.Validate != nil {
		errs = append(errs, h.kind.Validate(ctx, new, old)...)
	}
	return errs
}

// validateStatus judges a status alone; rules see the whole.
func (h *hub) validateStatus(ctx context.Context, new, old apimachinery.Object) field.ErrorList {
	return h.tagged(ctx, new, old, func(n, o map[string]any) field.ErrorList {
		if n["status"] == nil {
			return nil
		}
		return h.schema.Field("status").Validate(field.NewPath("status"), n["status"], o["status"])
	})
}

// tagged judges by the schema: first what by says, then the rules.
func (h *hub) tagged(ctx context.Context, new, old apimachinery.Object, by func(n, o map[string]any) field.ErrorList) field.ErrorList {
	if !h.judges {
		return nil
	}
	n, err := h.content(new)
	if err != nil {
		return field.ErrorList{field.InternalError(nil, err)}
	}
	var o map[string]any
	var before any
	if old != nil {
		if o, err = h.content(old); err != nil {
			return field.ErrorList{field.InternalError(nil, err)}
		}
		before = o
	}
	errs := by(n, o)
	if h.rules == nil {
		return errs
	}
	if cel.Blocks(errs) {
		return append(errs, cel.NotChecked())
	}
	found, _ := h.rules.Validate(ctx, nil, n, before, cel.Budget)
	return append(errs, found...)
}

// content is an object as JSON has it, with its kind.
func (h *hub) content(o apimachinery.Object) (map[string]any, error) {
	out, err := content(o)
	if err == nil {
		out["apiVersion"], out["kind"] = h.gvk.GroupVersion().String(), h.gvk.Kind
	}
	return out, err
}

func (h *hub) before(old apimachinery.Object) reflect.Value {
	if old == nil {
		return reflect.Value{}
	}
	return h.field(old, h.spec)
}

// judgeSpec asks the methods of a Spec; old is the zero Value on create.
func judgeSpec(new, old reflect.Value) (errs field.ErrorList) {
	path := field.NewPath("spec")
	if v, ok := new.Addr().Interface().(apimachinery.SpecValidator); ok {
		errs = v.Validate(path)
	}
	m := new.Addr().MethodByName("ValidateUpdate")
	if !old.IsValid() || !m.IsValid() {
		return errs
	}
	// It is apimachinery.SpecUpdateValidator of the Spec's own type, which is known here as a value alone.
	t := m.Type()
	if t.NumIn() != 2 || t.In(0) != old.Addr().Type() || t.In(1) != reflect.TypeOf(path) || t.NumOut() != 1 || t.Out(0) != reflect.TypeOf(errs) {
		return errs
	}
	out := m.Call([]reflect.Value{old.Addr(), reflect.ValueOf(path)})
	return append(errs, out[0].Interface().(field.ErrorList)...)
}
