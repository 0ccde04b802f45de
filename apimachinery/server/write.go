package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/managedfields"
	"github.com/bedplate/bedplate/apimachinery/structural"
	"github.com/bedplate/bedplate/storage"
)

// part is what of an object a write is about: the object itself, or what a subresource owns.
type part struct {
	sub      string
	prepare  func(ctx context.Context, new, old apimachinery.Object)
	validate func(ctx context.Context, new, old apimachinery.Object) field.ErrorList
	reset    managedfields.Set // fields that can't be owned through this door
	untold   bool              // managedFields don't tell of such writes (binding)
}

func (c *call) mainPart() part {
	return part{prepare: c.k.res.Prepare, validate: c.k.res.Validate, reset: c.v.reset("")}
}

// readOptions reads the options of create, update and patch, and refuses those that contradict themselves.
func (c *call) readOptions(patch types.PatchType) error {
	var o metav1.PatchOptions
	kind := "PatchOptions"
	var errs field.ErrorList
	switch got := c.r.Options.(type) {
	case *metav1.CreateOptions:
		if got != nil {
			o.DryRun, o.FieldManager, o.FieldValidation = got.DryRun, got.FieldManager, got.FieldValidation
			kind, errs = "CreateOptions", validation.ValidateCreateOptions(got)
		}
	case *metav1.UpdateOptions:
		if got != nil {
			o.DryRun, o.FieldManager, o.FieldValidation = got.DryRun, got.FieldManager, got.FieldValidation
			kind, errs = "UpdateOptions", validation.ValidateUpdateOptions(got)
		}
	case *metav1.PatchOptions:
		if got != nil {
			o = *got
		}
	}
	if patch != "" {
		errs = validation.ValidatePatchOptions(&o, patch)
	}
	c.options = writeOptions{
		dryRun: len(o.DryRun) > 0, force: o.Force != nil && *o.Force,
		manager: o.FieldManager, validation: o.FieldValidation,
	}
	if c.options.manager == "" && c.r.HTTP != nil {
		c.options.manager = managerOf(c.r.HTTP.UserAgent())
	}
	return invalidOptions(kind, errs)
}

// managerOf is the field manager's name of a client that gives none: the product in its user agent.
func managerOf(userAgent string) string {
	name, _, _ := strings.Cut(userAgent, "/")
	name = strings.Map(func(r rune) rune {
		if strconv.IsPrint(r) {
			return r
		}
		return -1
	}, name)
	return name[:min(len(name), validation.FieldManagerMaxLength)]
}

// inPlace makes the object's namespace that of the request.
func (c *call) inPlace(o apimachinery.Object) error {
	switch {
	case !c.k.res.Namespaced || o.GetNamespace() == "":
		o.SetNamespace(c.r.Namespace)
	case o.GetNamespace() != c.r.Namespace:
		return apierrors.NewBadRequest("the namespace of the provided object does not match the namespace sent on the request")
	}
	return nil
}

// account brings the object's managedFields up to date with this write. old is nil on create.
func (c *call) account(hub apimachinery.Object, old *storage.Entry, oldHub apimachinery.Object, p part) error {
	var before []metav1.ManagedFieldsEntry
	if old != nil {
		before = oldHub.GetManagedFields()
	}
	if p.untold {
		hub.SetManagedFields(before)
		return nil
	}
	shape, err := c.v.shape()
	if err != nil {
		return err
	}
	managed := managedfields.Requested(hub.GetManagedFields(), before, p.sub)
	after, ok, err := c.accountValues(shape, hub, oldHub, managed, p)
	if !ok && err == nil {
		after, err = c.accountJSON(shape, hub, old, managed, p)
	}
	if err != nil {
		c.s.c.Log.Debug("managedFields left as they were", "resource", c.v.gr.String(), "err", err)
		after = before
	}
	hub.SetManagedFields(after)
	return nil
}

// accountValues does so by the Go values, where they are what the client sees; ok is false where it can't.
func (c *call) accountValues(shape *structural.Type, hub, oldHub apimachinery.Object, managed []metav1.ManagedFieldsEntry, p part) (after []metav1.ManagedFieldsEntry, ok bool, err error) {
	if !c.v.found.Hub() {
		return nil, false, nil
	}
	var live any
	if oldHub != nil {
		live = oldHub
	}
	return managedfields.UpdateObject(shape, live, hub, managed, c.manager(p), p.reset)
}

// accountJSON does so by the JSON of the request's version.
func (c *call) accountJSON(shape *structural.Type, hub apimachinery.Object, old *storage.Entry, managed []metav1.ManagedFieldsEntry, p part) ([]metav1.ManagedFieldsEntry, error) {
	var live []byte
	if old != nil {
		bare, err := c.bare(old)
		if err != nil {
			return nil, err
		}
		live = bare.raw
	}
	version := hub.GetResourceVersion()
	hub.SetManagedFields(nil)
	raw, err := c.v.encode(hub)
	hub.SetResourceVersion(version)
	if err != nil {
		return nil, err
	}
	return managedfields.Update(shape, live, raw, managed, c.manager(p), p.reset)
}

func (c *call) manager(p part) managedfields.Manager {
	return managedfields.Manager{
		Name: c.options.manager, Subresource: p.sub, APIVersion: c.v.gvk.GroupVersion().String(), Time: c.now.Time,
	}
}

// reset returns the fields that writers through a subresource, or of the object itself, can't own.
func (v *view) reset(sub string) managedfields.Set {
	if set, ok := v.resets()[sub]; ok {
		return set
	}
	return managedfields.Set{}
}

func (v *view) makeResets() map[string]managedfields.Set {
	out := map[string]managedfields.Set{}
	var owned []string
	for name, sub := range v.found.Subs() {
		if sub.Strategy == nil || len(sub.Strategy.Owned) == 0 {
			continue
		}
		owned = append(owned, sub.Strategy.Owned...)
		others := []string{"metadata"}
		if shape, err := v.shape(); err == nil {
			for _, f := range shape.Fields() {
				if !slices.Contains(sub.Strategy.Owned, f.Name) && !slices.Contains([]string{"apiVersion", "kind", "metadata"}, f.Name) {
					others = append(others, f.Name)
				}
			}
		}
		out[name] = managedfields.Paths(others...)
	}
	if len(owned) > 0 {
		out[""] = managedfields.Paths(owned...)
	}
	return out
}

// edited is what an edit makes of an object.
type edited struct {
	hub       apimachinery.Object     // the object as it shall be, the caller's own
	admitted  *apimachinery.Admission // what admission sees where that isn't the object; it was asked to mutate already
	accounted bool                    // managedFields are done
}

// edit makes the new state of an object from the old one. It may be called again when others were faster.
type edit func(ctx context.Context, old *storage.Entry, oldHub apimachinery.Object) (edited, error)

// errMoved says that the object was written by others since it was read.
var errMoved = errors.New("the object was written meanwhile")

// modify changes the object that the request names. The first try works on what the cache has: if that was old,
// the store refuses the write, and whatever else goes wrong is looked at again with the newest state. missing,
// where not nil, is what to do if there is no object.
func (c *call) modify(ctx context.Context, p part, do edit, missing func(context.Context) (*storage.Entry, error)) (e *storage.Entry, created bool, err error) {
	min := c.k.recent()
	for range c.s.c.Limits.Attempts {
		old, err := c.k.table.Get(ctx, c.key(), min)
		if err != nil {
			if min != 0 && ctx.Err() == nil {
				min = 0
				continue
			}
			if missing == nil || !errors.Is(err, storage.ErrNotFound) {
				return nil, false, storageError(c.v.gr, c.r.Name, err)
			}
			if e, err := missing(ctx); !apierrors.IsAlreadyExists(err) {
				return e, true, err
			}
			continue
		}
		e, err := c.attempt(ctx, p, old, do)
		if e != old && err == nil {
			return e, false, nil
		}
		if !errors.Is(err, errMoved) {
			if min == 0 || c.isNewest(ctx, old) {
				return e, false, err
			}
		}
		min = 0
	}
	return nil, false, apierrors.NewConflict(c.v.gr, c.r.Name, errModified)
}

func (c *call) isNewest(ctx context.Context, e *storage.Entry) bool {
	now, err := c.k.table.Get(ctx, e.Key, 0)
	return err == nil && now.Rev == e.Rev
}

// attempt goes through the pipeline once with the old state as it was read. It returns old itself if there was
// nothing to change.
func (c *call) attempt(ctx context.Context, p part, old *storage.Entry, do edit) (*storage.Entry, error) {
	oldHub, err := c.hub(old)
	if err != nil {
		return nil, err
	}
	ed, err := do(ctx, old, oldHub)
	if err != nil {
		return nil, err
	}
	if err := c.checkVersion(ed.hub, old); err != nil {
		return nil, err
	}
	if !ed.accounted {
		if err := c.account(ed.hub, old, oldHub, p); err != nil {
			return nil, err
		}
	}
	a := ed.admitted
	if a == nil {
		a = c.admission(opUpdate, ed.hub, oldHub)
		if err := c.mutate(ctx, a); err != nil {
			return nil, err
		}
		ed.hub = a.Object
		if c.s.mutators() {
			c.defaults(ed.hub)
		}
	}
	if c.claiming(p) {
		if ed.hub, err = c.allocate(ctx, ed.hub, oldHub); err != nil {
			return nil, err
		}
		a.Object = ed.hub
	}
	if err := c.judgeUpdate(ctx, p, ed.hub, oldHub, old.Rev); err != nil {
		return nil, err
	}
	if err := c.validateAdmission(ctx, a); err != nil {
		return nil, err
	}
	e, err := c.store(ctx, ed.hub, old, oldHub)
	if errors.Is(err, errTaken) {
		c.late = true
		return nil, errMoved
	}
	return e, err
}

// checkVersion refuses a write that was made for another state of the object.
func (c *call) checkVersion(hub apimachinery.Object, old *storage.Entry) error {
	text := hub.GetResourceVersion()
	if text == "" || text == "0" {
		if c.k.res.Conditional && c.r.Verb == apimachinery.VerbUpdate {
			return c.invalid(c.r.Name, field.ErrorList{field.Invalid(field.NewPath("metadata", "resourceVersion"), 0, "must be specified for an update")})
		}
		return nil
	}
	rev, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return c.invalid(c.r.Name, field.ErrorList{field.Invalid(field.NewPath("metadata", "resourceVersion"), text, err.Error())})
	}
	if rev != old.Rev {
		return apierrors.NewConflict(c.v.gr, c.r.Name, errModified)
	}
	return nil
}

func (c *call) invalid(name string, errs field.ErrorList) error {
	if len(errs) == 0 {
		return nil
	}
	return apierrors.NewInvalid(c.v.gvk.GroupKind(), name, errs)
}

// store commits the new state of an object, or its deletion if that is what it was waiting for.
func (c *call) store(ctx context.Context, hub apimachinery.Object, old *storage.Entry, oldHub apimachinery.Object) (*storage.Entry, error) {
	ends := c.endsWith(hub, oldHub)
	e, err := c.k.seal(old.Key, hub)
	if err != nil {
		return nil, err
	}
	if !ends && bytes.Equal(e.Raw, old.Raw) {
		return old, nil
	}
	w := storage.Write{Table: c.k.table, Key: old.Key, Value: e.Raw, At: old.Rev, Made: e.made}
	guarded := hub
	if ends {
		w.Value, w.Made, guarded = nil, nil, nil
	}
	rev, err := c.commit(ctx, w, guarded, oldHub)
	if err != nil {
		return nil, err
	}
	return e.stored(rev, old.Created), nil
}

// endsWith says whether an update lets an object go that was only waiting for its finalizers.
func (c *call) endsWith(hub, old apimachinery.Object) bool {
	grace := old.GetDeletionGracePeriodSeconds()
	return isDeleting(old) && len(hub.GetFinalizers()) == 0 && (grace == nil || *grace == 0) && c.finalized(hub)
}

func (c *call) finalized(o apimachinery.Object) bool {
	return c.k.res.Finalized == nil || c.k.res.Finalized(o)
}

func (c *call) update(ctx context.Context, p part) (*apimachinery.Response, error) {
	if err := c.readOptions(""); err != nil {
		return nil, err
	}
	body, strict, err := c.input()
	if err != nil {
		return nil, err
	}
	sent, err := c.decodeHub(body, strict)
	if err != nil {
		return nil, err
	}
	if err := c.checkName(sent); err != nil {
		return nil, err
	}
	if err := c.inPlace(sent); err != nil {
		return nil, err
	}
	uid := sent.GetUID()
	take := func() (hub apimachinery.Object, err error) {
		hub, sent = sent, nil
		if hub == nil { // an earlier try changed it
			if hub, err = c.decodeHub(body, strict); err == nil {
				err = c.inPlace(hub)
			}
		}
		return hub, err
	}
	do := func(_ context.Context, old *storage.Entry, _ apimachinery.Object) (edited, error) {
		if uid != "" && string(uid) != old.Head.UID {
			return edited{}, c.uidConflict(uid, old.Head.UID)
		}
		hub, err := take()
		return edited{hub: hub}, err
	}
	var missing func(context.Context) (*storage.Entry, error)
	if c.k.res.Upsert && c.sub == nil {
		missing = func(ctx context.Context) (*storage.Entry, error) {
			if uid != "" {
				return nil, c.uidConflict(uid, "")
			}
			hub, err := take()
			if err != nil {
				return nil, err
			}
			return c.createInstead(ctx, hub, p, false)
		}
	}
	e, created, err := c.modify(ctx, p, do, missing)
	if err != nil {
		return nil, err
	}
	return c.answer(okOr201(created), e)
}

func okOr201(created bool) int {
	if created {
		return 201
	}
	return 200
}

func (c *call) checkName(o apimachinery.Object) error {
	switch name := o.GetName(); name {
	case c.r.Name:
		return nil
	case "":
		return apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s based on URL) was undeterminable: name must be provided", c.r.Name))
	default:
		return apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s) does not match the name on the URL (%s)", name, c.r.Name))
	}
}

func (c *call) uidConflict(want types.UID, have string) error {
	return apierrors.NewConflict(c.v.gr, c.r.Name, fmt.Errorf("Precondition failed: UID in precondition: %s, UID in object meta: %s", want, have)) //nolint:staticcheck // Kubernetes' words
}
