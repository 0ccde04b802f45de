package server

import (
	"context"
	"slices"
	"strconv"

	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/api/validation/path"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
)

// fresh sets what the server alone sets on a new object.
func (c *call) fresh(hub apimachinery.Object) {
	hub.SetUID(types.UID(uuid.NewUUID()))
	hub.SetCreationTimestamp(c.now)
	hub.SetDeletionTimestamp(nil)
	hub.SetDeletionGracePeriodSeconds(nil)
	hub.SetSelfLink("")
	hub.SetGeneration(0)
}

// hookContext is that of the resource's hooks: who asks, and for which of several kinds.
func (c *call) hookContext(ctx context.Context) context.Context {
	if len(c.k.views) > 1 {
		ctx = apimachinery.WithKind(ctx, c.v.gvk)
	}
	return apimachinery.WithUser(ctx, c.r.User)
}

// judgeCreate prepares and validates a new object.
func (c *call) judgeCreate(ctx context.Context, p part, hub apimachinery.Object) error {
	ctx = c.hookContext(ctx)
	hub.SetGeneration(0)
	if p.prepare != nil {
		p.prepare(ctx, hub, nil)
	}
	var errs field.ErrorList
	if !apimachinery.SoundNewMeta(hub, c.k.res.Namespaced, c.ownNames()) {
		errs = validation.ValidateObjectMetaAccessor(hub, c.k.res.Namespaced, c.validName, field.NewPath("metadata"))
	}
	if p.validate != nil {
		errs = append(errs, p.validate(ctx, hub, nil)...)
	}
	errs = c.addMissing(hub, errs)
	if err := c.invalid(hub.GetName(), errs); err != nil {
		return err
	}
	c.addWarnings(hub, nil)
	return nil
}

// judgeUpdate carries over what an update may not touch, prepares and validates.
func (c *call) judgeUpdate(ctx context.Context, p part, hub, old apimachinery.Object, rev int64) error {
	ctx = c.hookContext(ctx)
	hub.SetGeneration(old.GetGeneration())
	if hub.GetUID() == "" {
		hub.SetUID(old.GetUID())
	}
	hub.SetCreationTimestamp(old.GetCreationTimestamp())
	if isDeleting(old) {
		hub.SetDeletionTimestamp(old.GetDeletionTimestamp())
		hub.SetDeletionGracePeriodSeconds(old.GetDeletionGracePeriodSeconds())
	}
	hub.SetSelfLink("")
	if hub.GetName() == "" {
		hub.SetName(old.GetName())
	}
	if p.prepare != nil {
		p.prepare(ctx, hub, old)
	}
	hub.SetResourceVersion(strconv.FormatInt(rev, 10))
	var errs field.ErrorList
	if !apimachinery.SoundMetaUpdate(hub, old) {
		errs = validation.ValidateObjectMetaAccessorUpdate(hub, old, field.NewPath("metadata"))
		if !isDeleting(old) {
			errs = append(errs, validation.ValidateFinalizers(hub.GetFinalizers(), field.NewPath("metadata", "finalizers"))...)
		}
	}
	if p.validate != nil {
		errs = append(errs, p.validate(ctx, hub, old)...)
	}
	errs = c.addMissing(hub, errs)
	if err := c.invalid(hub.GetName(), errs); err != nil {
		return err
	}
	c.addWarnings(hub, old)
	return nil
}

// addMissing adds what the writer left out, unless that is told already.
func (c *call) addMissing(hub apimachinery.Object, errs field.ErrorList) field.ErrorList {
	if c.missing == nil {
		return errs
	}
	for _, m := range c.missing(hub) {
		if !slices.ContainsFunc(errs, func(e *field.Error) bool { return e.Field == m.Field && e.Type == m.Type }) {
			errs = append(errs, m)
		}
	}
	return errs
}

func (c *call) addWarnings(hub, old apimachinery.Object) {
	if c.k.res.Warnings == nil {
		return
	}
	for _, text := range c.k.res.Warnings(hub, old) {
		c.warn(text)
	}
}

// ownNames is how names are judged where the resource has a way of its own; nil: as everywhere.
func (c *call) ownNames() validation.ValidateNameFunc {
	if c.k.res.ValidName == nil {
		return nil
	}
	return c.validName
}

// validName is the resource's judgement of a name; whatever it thinks, a name must be one segment of a path.
func (c *call) validName(name string, prefix bool) []string {
	judge := validation.NameIsDNSSubdomain
	if c.k.res.ValidName != nil {
		judge = c.k.res.ValidName
	}
	if msgs := judge(name, prefix); len(msgs) > 0 {
		return msgs
	}
	if prefix {
		return path.IsValidPathSegmentPrefix(name)
	}
	return path.IsValidPathSegmentName(name)
}
