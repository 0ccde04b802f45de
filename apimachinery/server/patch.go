package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/mergepatch"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/apimachinery/pkg/util/validation/field"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/storage"
)

func (c *call) patch(ctx context.Context, p part) (*apimachinery.Response, error) {
	typ := types.PatchType(c.r.ContentType)
	if err := c.patchable(typ); err != nil {
		return nil, err
	}
	if err := c.readOptions(typ); err != nil {
		return nil, err
	}
	body, err := c.patchBody()
	if err != nil {
		return nil, err
	}
	if typ == types.ApplyYAMLPatchType {
		return c.apply(ctx, p, body)
	}
	strict, err := c.strictPatch(typ, body)
	if err != nil {
		return nil, err
	}
	do := func(_ context.Context, old *storage.Entry, _ apimachinery.Object) (edited, error) {
		hub, err := c.patched(typ, body, strict, old)
		return edited{hub: hub}, err
	}
	e, _, err := c.modify(ctx, p, do, nil)
	if err != nil {
		return nil, err
	}
	return c.answer(200, e)
}

func (c *call) patchBody() ([]byte, error) {
	body := c.r.Body
	if body == nil && c.r.Object != nil {
		var err error
		if body, err = apimachinery.Encode(c.r.Object); err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
	}
	if int64(len(body)) > c.s.c.Limits.Body {
		return nil, c.s.tooLarge()
	}
	c.record.sentRaw(body, c.r.ContentType)
	return body, nil
}

func (c *call) patchable(typ types.PatchType) error {
	switch typ {
	case types.StrategicMergePatchType:
		if c.v.custom == nil || c.sub != nil && c.sub.New != nil {
			return nil
		}
		return unsupportedMedia(string(typ), string(types.JSONPatchType), string(types.MergePatchType), string(types.ApplyYAMLPatchType))
	case types.JSONPatchType, types.MergePatchType, types.ApplyYAMLPatchType:
		return nil
	}
	return unsupportedMedia(string(typ), string(types.JSONPatchType), string(types.MergePatchType), string(types.StrategicMergePatchType), string(types.ApplyYAMLPatchType))
}

// strictPatch finds what is doubled or unknown in the patch itself, as far as the client wants to know.
func (c *call) strictPatch(typ types.PatchType, body []byte) ([]error, error) {
	if c.options.validation == metav1.FieldValidationIgnore {
		return nil, nil
	}
	var into any = &map[string]any{}
	if typ == types.JSONPatchType {
		var ops []struct {
			Op    string `json:"op"`
			Path  string `json:"path"`
			From  string `json:"from"`
			Value any    `json:"value"`
		}
		into = &ops
	}
	strict, err := apimachinery.Decode(body, into)
	if err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding patch: %v", err))
	}
	if typ == types.JSONPatchType {
		for i, e := range strict {
			strict[i] = fmt.Errorf("json patch %w", e)
		}
	}
	return strict, nil
}

// patched is the entry with the patch applied, as a hub object.
func (c *call) patched(typ types.PatchType, patch []byte, strict []error, old *storage.Entry) (apimachinery.Object, error) {
	from := c.v.form
	if typ != types.JSONPatchType && !bytes.Contains(patch, []byte("managedFields")) && !bytes.ContainsRune(patch, '\\') {
		from = c.bare // what the patch leaves alone is what account starts from anyway
	}
	f, err := from(old)
	if err != nil {
		return nil, err
	}
	current := f.appendTo(make([]byte, 0, f.size()), old.Rev)
	raw, err := c.applyPatch(typ, current, patch, c.v.found.New())
	if err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(raw, []byte("{")) {
		return nil, patchError(errors.New("what the patch makes of the object is no object"))
	}
	o := c.v.found.New()
	if err := c.decodePatched(raw, strict, c.v.gvk, o); err != nil {
		return nil, err
	}
	hub, err := c.v.toHub(o)
	if err != nil {
		return nil, undecodable(c.v.gvk, err)
	}
	c.defaults(hub)
	return hub, c.inPlace(hub)
}

// applyPatch applies any of the three patches to JSON. sample is of the Go type that strategic merging goes by.
func (c *call) applyPatch(typ types.PatchType, current, patch []byte, sample any) (out []byte, err error) {
	switch typ {
	case types.JSONPatchType:
		out, err = apimachinery.JSONPatch(current, patch, c.s.c.Limits.PatchOperations, int(c.s.c.Limits.Body))
	case types.MergePatchType:
		out, err = apimachinery.MergePatch(current, patch)
	default:
		out, err = strategic(current, patch, sample)
	}
	if err != nil {
		return nil, patchError(err)
	}
	if int64(len(out)) > c.s.c.Limits.Body {
		return nil, c.s.tooLarge()
	}
	return out, nil
}

func strategic(current, patch []byte, sample any) (merged []byte, err error) {
	defer func() { // the library takes it for granted that merge keys can be compared
		if p := recover(); p != nil {
			merged, err = nil, &apimachinery.PatchSyntaxError{Err: fmt.Errorf("the patch does not fit its format: %v", p)}
		}
	}()
	var doc, change map[string]any
	if err := apimachinery.DecodeLoose(current, &doc); err != nil {
		return nil, err
	}
	if err := apimachinery.DecodeLoose(patch, &change); err != nil {
		return nil, &apimachinery.PatchSyntaxError{Err: err}
	}
	out, err := strategicpatch.StrategicMergeMapPatch(doc, change, sample)
	if err != nil {
		return nil, err
	}
	return apimachinery.Encode(map[string]any(out))
}

// patchError is what a client gets for a patch that can't be applied: 400 if it is malformed, 413 if it is too
// large, 422 if it doesn't fit the object.
func patchError(err error) error {
	var syntax *apimachinery.PatchSyntaxError
	switch {
	case errors.Is(err, apimachinery.ErrTooLarge):
		return apierrors.NewRequestEntityTooLargeError(err.Error())
	case errors.As(err, &syntax),
		errors.Is(err, mergepatch.ErrBadJSONDoc), errors.Is(err, mergepatch.ErrBadPatchFormatForPrimitiveList),
		errors.Is(err, mergepatch.ErrBadPatchFormatForRetainKeys), errors.Is(err, mergepatch.ErrBadPatchFormatForSetElementOrderList),
		errors.Is(err, mergepatch.ErrUnsupportedStrategicMergePatchFormat):
		return apierrors.NewBadRequest(err.Error())
	}
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusUnprocessableEntity, Reason: metav1.StatusReasonInvalid, Message: err.Error(),
	}}
}

// decodePatched reads what a patch made of an object. What can't be read is the patch's fault.
func (c *call) decodePatched(raw []byte, strict []error, gvk schema.GroupVersionKind, into apimachinery.Object) error {
	more, err := c.read(raw, into)
	if err == nil {
		err = checkKind(kindOf(raw, into, nil), gvk)
	}
	if err == nil {
		strict = append(strict, more...)
		switch {
		case len(strict) == 0 || c.options.validation == metav1.FieldValidationIgnore:
			return nil
		case c.options.validation == metav1.FieldValidationStrict:
			err = fmt.Errorf("strict decoding error: %w", joined(strict))
		default:
			for _, e := range strict {
				c.warn(e.Error())
			}
			return nil
		}
	}
	return apierrors.NewInvalid(schema.GroupKind{}, "", field.ErrorList{
		field.Invalid(field.NewPath("patch"), summary(raw), err.Error()),
	})
}

// summary keeps an error's bad value short.
func summary(raw []byte) string {
	const most = 1 << 10
	if len(raw) <= most {
		return string(raw)
	}
	return string(raw[:most]) + "…"
}
