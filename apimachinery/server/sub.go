package server

import (
	"context"
	"fmt"
	"strconv"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/wire"
	"github.com/bedplate/bedplate/storage"
)

// doSub serves a subresource as its declaration says.
func (c *call) doSub(ctx context.Context) (*apimachinery.Response, error) {
	switch {
	case c.sub.Connect != "":
		return c.connect(ctx)
	case c.sub.Strategy != nil:
		return c.doStrategy(ctx)
	case c.sub.Do != nil:
		return c.doOther(ctx)
	case c.r.Verb == apimachinery.VerbGet && c.sub.Get != nil:
		return c.getSub(ctx)
	case c.sub.Mutate == nil:
		return nil, c.notSupported()
	case c.r.Verb == apimachinery.VerbPatch && c.sub.Get != nil:
		return c.patchSub(ctx)
	case c.r.Verb == apimachinery.VerbPatch:
		return nil, c.notSupported()
	}
	return c.writeSub(ctx)
}

// doStrategy serves the same object under other rules.
func (c *call) doStrategy(ctx context.Context) (*apimachinery.Response, error) {
	p := part{
		sub: c.r.Sub, prepare: c.sub.Strategy.Prepare, validate: c.sub.Strategy.Validate, reset: c.v.reset(c.r.Sub),
	}
	switch c.r.Verb {
	case apimachinery.VerbGet:
		return c.get(ctx)
	case apimachinery.VerbUpdate:
		return c.update(ctx, p)
	case apimachinery.VerbPatch:
		return c.patch(ctx, p)
	}
	return nil, c.notSupported()
}

// parentOf reads the object that a subresource belongs to: the newest.
func (c *call) parentOf(ctx context.Context) (*storage.Entry, apimachinery.Object, error) {
	e, err := c.k.table.Get(ctx, c.key(), 0)
	if err != nil {
		return nil, nil, storageError(c.v.gr, c.r.Name, err)
	}
	o, err := c.hub(e)
	return e, o, err
}

func (c *call) getSub(ctx context.Context) (*apimachinery.Response, error) {
	_, parent, err := c.parentOf(ctx)
	if err != nil {
		return nil, err
	}
	return c.subAnswer(200, parent)
}

// subAnswer responds with what Get reads from the object.
func (c *call) subAnswer(code int, parent apimachinery.Object) (*apimachinery.Response, error) {
	o, err := c.subOf(parent)
	if err != nil {
		return nil, err
	}
	if scale, ok := o.(*autoscalingv1.Scale); ok && c.form.As.Kind == wire.AsTable {
		body, err := c.scaleTable(scale)
		return c.body(code, body, err)
	}
	return c.object(code, o)
}

func (c *call) subOf(parent apimachinery.Object) (apimachinery.Object, error) {
	o, err := c.sub.Get(deepCopy(parent))
	if err != nil {
		return nil, err
	}
	o.GetObjectKind().SetGroupVersionKind(c.sub.Kind)
	return o, nil
}

// subInput is the object of the subresource's kind that the request carries.
func (c *call) subInput() (apimachinery.Object, error) {
	body, strict, err := c.input()
	if err != nil {
		return nil, err
	}
	in := c.sub.New()
	if err := c.decode(body, strict, c.sub.Kind, in); err != nil {
		return nil, err
	}
	if in.GetName() == "" {
		in.SetName(c.r.Name)
	}
	if err := c.checkName(in); err != nil {
		return nil, err
	}
	if err := c.inPlace(in); err != nil {
		return nil, err
	}
	c.carries(in, false)
	return in, nil
}

// writeSub folds an object of another kind into the object.
func (c *call) writeSub(ctx context.Context) (*apimachinery.Response, error) {
	if err := c.readOptions(""); err != nil {
		return nil, err
	}
	in, err := c.subInput()
	if err != nil {
		return nil, err
	}
	return c.fold(ctx, func(apimachinery.Object, *storage.Entry, apimachinery.Object) (folding, error) {
		return folding{in: deepCopy(in)}, nil
	})
}

// patchSub patches what Get reads, and folds the outcome in.
func (c *call) patchSub(ctx context.Context) (*apimachinery.Response, error) {
	typ := types.PatchType(c.r.ContentType)
	if err := c.patchable(typ); err != nil {
		return nil, err
	}
	if typ == types.ApplyYAMLPatchType && c.sub.Owns == nil {
		return nil, unsupportedMedia(string(typ), string(types.JSONPatchType), string(types.MergePatchType), string(types.StrategicMergePatchType))
	}
	if err := c.readOptions(typ); err != nil {
		return nil, err
	}
	body, err := c.patchBody()
	if err != nil {
		return nil, err
	}
	if typ == types.ApplyYAMLPatchType {
		return c.applySub(ctx, body)
	}
	strict, err := c.strictPatch(typ, body)
	if err != nil {
		return nil, err
	}
	return c.fold(ctx, func(before apimachinery.Object, old *storage.Entry, _ apimachinery.Object) (folding, error) {
		before.SetResourceVersion(strconv.FormatInt(old.Rev, 10))
		current, err := apimachinery.Encode(before)
		if err != nil {
			return folding{}, err
		}
		raw, err := c.applyPatch(typ, current, body, c.sub.New())
		if err != nil {
			return folding{}, err
		}
		in := c.sub.New()
		return folding{in: in}, c.decodePatched(raw, strict, c.sub.Kind, in)
	})
}

// folding is what is to be folded into an object.
type folding struct {
	in apimachinery.Object
	// managed are the object's managedFields afterwards, if accounted says that they have been worked out.
	managed   []metav1.ManagedFieldsEntry
	accounted bool
}

// fold makes the subresource's object, has it admitted, and changes the parent by it. Where the subresource
// can be read, the parent goes through its own preparation and validation; where it can't (binding), Mutate
// alone answers for what it does.
func (c *call) fold(ctx context.Context, input func(before apimachinery.Object, old *storage.Entry, oldHub apimachinery.Object) (folding, error)) (*apimachinery.Response, error) {
	p := part{sub: c.r.Sub, untold: true}
	if c.sub.Get != nil {
		p = c.mainPart()
		p.sub = c.r.Sub
	}
	do := func(ctx context.Context, old *storage.Entry, oldHub apimachinery.Object) (edited, error) {
		var before apimachinery.Object
		if c.sub.Get != nil {
			var err error
			if before, err = c.subOf(oldHub); err != nil {
				return edited{}, err
			}
		}
		f, err := input(before, old, oldHub)
		if err != nil {
			return edited{}, err
		}
		c.parent = deepCopy(oldHub)
		op := opUpdate
		if c.r.Verb == apimachinery.VerbCreate {
			op, before = opCreate, nil
		}
		a := c.admission(op, f.in, before)
		if err := c.mutate(ctx, a); err != nil {
			return edited{}, err
		}
		hub := deepCopy(oldHub)
		hub.SetResourceVersion(strconv.FormatInt(old.Rev, 10))
		if v := a.Object.GetResourceVersion(); v != "" && c.sub.Get != nil {
			if err := c.checkVersion(a.Object, old); err != nil {
				return edited{}, err
			}
		}
		if f.accounted {
			hub.SetManagedFields(f.managed)
		}
		return edited{hub: hub, admitted: a, accounted: f.accounted}, c.sub.Mutate(ctx, hub, a.Object)
	}
	e, _, err := c.modify(ctx, p, do, nil)
	if err != nil {
		return nil, err
	}
	return c.folded(e)
}

// folded is the answer to a write of another kind: that kind, or Success with the revision of the transaction.
func (c *call) folded(e *storage.Entry) (*apimachinery.Response, error) {
	code := okOr201(c.r.Verb == apimachinery.VerbCreate)
	if c.sub.Get == nil {
		return c.object(code, &metav1.Status{
			TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
			ListMeta: metav1.ListMeta{ResourceVersion: strconv.FormatInt(e.Rev, 10)},
			Status:   metav1.StatusSuccess, Code: int32(code),
		})
	}
	hub, err := c.hub(e)
	if err != nil {
		return nil, err
	}
	return c.subAnswer(code, hub)
}

// doOther serves a subresource that does something of its own.
func (c *call) doOther(ctx context.Context) (*apimachinery.Response, error) {
	if err := c.readOptions(""); err != nil {
		return nil, err
	}
	_, parent, err := c.parentOf(ctx)
	if err != nil {
		return nil, err
	}
	c.parent = deepCopy(parent)
	var in apimachinery.Object
	if c.r.Verb != apimachinery.VerbGet && c.sub.New != nil {
		if in, err = c.subInput(); err != nil {
			return nil, err
		}
		op := opUpdate
		if c.r.Verb == apimachinery.VerbCreate {
			op = opCreate
		}
		a := c.admission(op, in, nil)
		if err := c.mutate(ctx, a); err != nil {
			return nil, err
		}
		if err := c.validateAdmission(ctx, a); err != nil {
			return nil, err
		}
		in = a.Object
	}
	out, err := c.sub.Do(ctx, c.r, deepCopy(parent), in)
	if err != nil {
		return nil, err
	}
	return c.made(out, c.sub.Kind)
}

// made responds with an object that a hook made; none is Success.
func (c *call) made(o apimachinery.Object, gvk schema.GroupVersionKind) (*apimachinery.Response, error) {
	code := okOr201(c.r.Verb == apimachinery.VerbCreate)
	if o == nil {
		return c.object(code, &metav1.Status{
			TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusSuccess, Code: int32(code),
		})
	}
	if o.GetObjectKind().GroupVersionKind().Kind == "" {
		o.GetObjectKind().SetGroupVersionKind(gvk)
	}
	return c.object(code, o)
}

// virtual answers a create that stores nothing.
func (c *call) virtual(ctx context.Context) (*apimachinery.Response, error) {
	if err := c.readOptions(""); err != nil {
		return nil, err
	}
	body, strict, err := c.input()
	if err != nil {
		return nil, err
	}
	hub, err := c.decodeHub(body, strict)
	if err != nil {
		return nil, err
	}
	if err := c.inPlace(hub); err != nil {
		return nil, err
	}
	a := c.admission(opCreate, hub, nil)
	if err := c.mutate(ctx, a); err != nil {
		return nil, err
	}
	if c.k.res.Validate != nil {
		if err := c.invalid(hub.GetName(), c.k.res.Validate(ctx, a.Object, nil)); err != nil {
			return nil, err
		}
	}
	if err := c.validateAdmission(ctx, a); err != nil {
		return nil, err
	}
	out, err := c.k.res.Virtual(ctx, c.r, a.Object)
	if err != nil {
		return nil, err
	}
	if out == nil {
		return c.made(nil, c.v.gvk)
	}
	if out, err = c.v.fromHub(out); err != nil {
		return nil, err
	}
	return c.made(out, c.v.gvk)
}

// connect hands the connection to a connector. An upgrade acts whatever its HTTP method, so it takes the right
// to create beside that of its verb.
func (c *call) connect(ctx context.Context) (*apimachinery.Response, error) {
	if c.r.HTTP != nil && c.r.HTTP.Header.Get("Upgrade") != "" && c.r.Verb == apimachinery.VerbGet {
		a := wire.Attributes(c.r)
		a.Verb = apimachinery.VerbCreate
		if err := c.s.authorize(ctx, a); err != nil {
			return nil, err
		}
	}
	connector := c.s.c.Connectors[c.sub.Connect]
	if connector == nil {
		return nil, apierrors.NewGenericServerResponse(404, c.r.Verb, c.v.gr, c.r.Name, fmt.Sprintf("this server has no connector %q", c.sub.Connect), 0, true)
	}
	_, parent, err := c.parentOf(ctx)
	if err != nil {
		return nil, err
	}
	c.parent = deepCopy(parent)
	a := c.admission(opConnect, nil, nil)
	if err := c.mutate(ctx, a); err != nil {
		return nil, err
	}
	if err := c.validateAdmission(ctx, a); err != nil {
		return nil, err
	}
	return connector.Connect(ctx, c.r, deepCopy(parent))
}
