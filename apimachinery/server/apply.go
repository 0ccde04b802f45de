package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/managedfields"
	"github.com/bedplate/bedplate/storage"
)

// apply is server-side apply: create or merge, with an account of who applied what.
func (c *call) apply(ctx context.Context, p part, body []byte) (*apimachinery.Response, error) {
	patch, err := c.applied(body, c.v.gvk.Kind)
	if err != nil {
		return nil, err
	}
	do := func(_ context.Context, old *storage.Entry, oldHub apimachinery.Object) (edited, error) {
		live, err := c.bare(old)
		if err != nil {
			return edited{}, err
		}
		hub, err := c.merged(p, live.raw, patch, oldHub.GetManagedFields())
		if err != nil {
			return edited{}, err
		}
		if uid := hub.GetUID(); uid != "" && string(uid) != old.Head.UID {
			return edited{}, c.uidConflict(uid, old.Head.UID)
		}
		return edited{hub: hub, accounted: true}, nil
	}
	var missing func(context.Context) (*storage.Entry, error)
	if c.sub == nil {
		missing = func(ctx context.Context) (*storage.Entry, error) {
			hub, err := c.merged(p, nil, patch, nil)
			if err != nil {
				return nil, err
			}
			if uid := hub.GetUID(); uid != "" {
				return nil, c.uidConflict(uid, "")
			}
			return c.createInstead(ctx, hub, p, true)
		}
	}
	e, created, err := c.modify(ctx, p, do, missing)
	if err != nil {
		return nil, err
	}
	return c.answer(okOr201(created), e)
}

// applied is the applied configuration as JSON, checked as far as it can be without the object.
func (c *call) applied(body []byte, kind string) ([]byte, error) {
	patch, strict, err := fromYAML(body)
	if err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding YAML: %v", err))
	}
	if int64(len(patch)) > c.s.c.Limits.Body {
		return nil, c.s.tooLarge()
	}
	if len(strict) > 0 {
		switch c.options.validation {
		case metav1.FieldValidationStrict:
			return nil, apierrors.NewBadRequest(fmt.Sprintf("error strict decoding YAML: %v", joined(strict)))
		case metav1.FieldValidationIgnore:
		default:
			c.warn(joined(strict).Error())
		}
	}
	var head metav1.PartialObjectMetadata
	if err := c.s.quick.DecodeLoose(patch, &head); err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding YAML: %v", err))
	}
	if head.Kind != kind {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("the kind in the applied configuration (%q) does not match the expected kind (%s)", head.Kind, kind))
	}
	if head.Name != "" && head.Name != c.r.Name {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s) does not match the name on the URL (%s)", head.Name, c.r.Name))
	}
	if head.Namespace != "" && head.Namespace != c.r.Namespace {
		return nil, apierrors.NewBadRequest("the namespace of the provided object does not match the namespace sent on the request")
	}
	return patch, nil
}

// fromYAML converts an applied configuration to JSON, which most of them are already, and without fault.
func fromYAML(body []byte) (out []byte, strict []error, err error) {
	if apimachinery.Unambiguous(body) {
		return body, nil, nil
	}
	if json.Valid(body) {
		strict, err = apimachinery.Decode(body, &map[string]any{})
		return body, strict, err
	}
	return apimachinery.ToJSON(body, apimachinery.YAML)
}

// merged is the live object, nil for none, with the patch applied, as a hub object with its defaults.
func (c *call) merged(p part, live, patch []byte, managed []metav1.ManagedFieldsEntry) (apimachinery.Object, error) {
	shape, err := c.v.shape()
	if err != nil {
		return nil, err
	}
	by := c.manager(p)
	by.Apply = true
	raw, after, err := managedfields.Apply(shape, live, patch, managed, by, c.options.force, p.reset)
	if err != nil {
		return nil, applyError(c.v.gvk.Kind, err)
	}
	o := c.v.found.New()
	if _, err := c.read(raw, o); err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	hub, err := c.v.toHub(o)
	if err != nil {
		return nil, undecodable(c.v.gvk, err)
	}
	c.defaults(hub)
	hub.SetManagedFields(after)
	if hub.GetName() == "" {
		hub.SetName(c.r.Name)
	}
	return hub, c.inPlace(hub)
}

// applySub applies a subresource of another kind, whose fields stand for some of the object's: who applies them
// owns those.
func (c *call) applySub(ctx context.Context, body []byte) (*apimachinery.Response, error) {
	patch, err := c.applied(body, c.sub.Kind.Kind)
	if err != nil {
		return nil, err
	}
	shape, err := c.s.types.Of(c.sub.New())
	if err != nil {
		return nil, err
	}
	part := managedfields.Part{Fields: c.sub.Owns, Version: c.sub.Kind.GroupVersion().String(), Of: c.v.gvk.GroupVersion().String()}
	by := managedfields.Manager{Name: c.options.manager, Subresource: c.r.Sub, APIVersion: part.Version, Time: c.now.Time, Apply: true}
	return c.fold(ctx, func(before apimachinery.Object, old *storage.Entry, oldHub apimachinery.Object) (folding, error) {
		before.SetResourceVersion(strconv.FormatInt(old.Rev, 10))
		live, err := apimachinery.Encode(before)
		if err != nil {
			return folding{}, err
		}
		managed, err := part.Entries(oldHub.GetManagedFields())
		if err != nil {
			return folding{}, err
		}
		raw, after, err := managedfields.Apply(shape, live, patch, managed, by, c.options.force, managedfields.Set{})
		if err != nil {
			return folding{}, applyError(c.sub.Kind.Kind, err)
		}
		f := folding{in: c.sub.New(), accounted: true}
		if f.managed, err = part.Merged(oldHub.GetManagedFields(), after); err != nil {
			return folding{}, err
		}
		if err := c.s.quick.DecodeLoose(raw, f.in); err != nil {
			return folding{}, apierrors.NewBadRequest(err.Error())
		}
		return f, nil
	})
}

func applyError(kind string, err error) error {
	var conflict *managedfields.ConflictError
	var bad *managedfields.PatchError
	switch {
	case errors.As(err, &conflict):
		return apierrors.NewApplyConflict(conflict.Causes(), conflict.Error())
	case errors.As(err, &bad):
		return apierrors.NewBadRequest(fmt.Sprintf("failed to create typed patch object (%s): %v", kind, bad.Err))
	}
	return err
}
