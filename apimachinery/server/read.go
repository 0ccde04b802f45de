package server

import (
	"context"
	"fmt"
	"reflect"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/wire"
	"github.com/bedplate/bedplate/storage"
)

func (c *call) get(ctx context.Context) (*apimachinery.Response, error) {
	var o metav1.GetOptions
	if got, ok := c.r.Options.(*metav1.GetOptions); ok && got != nil {
		o = *got
	}
	min, err := parseVersion(o.ResourceVersion)
	if err != nil {
		return nil, err
	}
	ctx, end := c.s.step(ctx, "Get etcd3")
	defer end()
	e, err := c.k.table.Get(ctx, c.key(), atLeast(o.ResourceVersion, min))
	if err != nil {
		return nil, storageError(c.v.gr, c.r.Name, err)
	}
	return c.answer(200, e)
}

// key is the key that the request names.
func (c *call) key() string { return c.k.key(c.r.Namespace, c.r.Name) }

// parseVersion reads a resourceVersion; "" is 0.
func parseVersion(text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		return 0, apierrors.NewBadRequest(fmt.Sprintf("invalid resource version %q: %v", text, err))
	}
	return int64(n), nil
}

// atLeast turns a resourceVersion into the minimum revision of a read: none means the newest, 0 means any.
func atLeast(text string, rev int64) int64 {
	switch {
	case text == "":
		return 0
	case rev == 0:
		return storage.Cached
	}
	return rev
}

// answer responds with one object in the form that was asked for.
func (c *call) answer(code int, e *storage.Entry) (*apimachinery.Response, error) {
	if c.form.As.Kind == wire.AsMetadataList {
		return nil, wire.NotAcceptable(fmt.Sprintf("you requested PartialObjectMetadataList, but the requested object is not a list (%s)", c.v.gvk.Kind))
	}
	if c.form.As.Kind == wire.AsTable {
		body, err := c.table([]*storage.Entry{e}, e.Rev, listMeta{})
		return c.body(code, body, err)
	}
	if c.inProtobuf() {
		return c.answerProtobuf(code, e)
	}
	if o, ok := c.shared(e); ok {
		return &apimachinery.Response{Code: code, ContentType: apimachinery.JSON, Object: o}, nil
	}
	f, err := c.shape(e)
	if err != nil {
		return nil, err
	}
	return c.body(code, append(f.appendTo(make([]byte, 0, f.size()), e.Rev), '\n'), nil)
}

// shared is the entry's decoded object, where the request may have that and it is what it asks for.
func (c *call) shared(e *storage.Entry) (apimachinery.Object, bool) {
	if c.r.Shares == nil || c.r.HTTP != nil || c.form.As.Kind != "" || c.form.Media != apimachinery.JSON || e.Rev == 0 {
		return nil, false
	}
	o, err := c.v.object(e)
	return o, err == nil && reflect.TypeOf(o) == c.r.Shares
}

// shape is the entry in the form asked for, other than a table.
func (c *call) shape(e *storage.Entry) (form, error) {
	if c.wantsMetadata() {
		return c.v.metadata(e, c.form.As.Version)
	}
	return c.v.form(e)
}

func (c *call) wantsMetadata() bool {
	return c.form.As.Kind == wire.AsMetadata || c.form.As.Kind == wire.AsMetadataList
}

// body makes the response of JSON, or of what is in the form asked for already.
func (c *call) body(code int, body []byte, err error) (*apimachinery.Response, error) {
	if err != nil {
		return nil, err
	}
	if c.form.Media == apimachinery.YAML {
		if body, err = toYAML(body); err != nil {
			return nil, err
		}
	}
	return &apimachinery.Response{Code: code, ContentType: c.form.Media, Body: body}, nil
}

// object responds with an object that is not stored.
func (c *call) object(code int, o runtime.Object) (*apimachinery.Response, error) {
	if c.inProtobuf() {
		body, err := apimachinery.EncodeProtobuf(o)
		return c.body(code, body, err)
	}
	body, err := apimachinery.Encode(o)
	return c.body(code, append(body, '\n'), err)
}

// invalidOptions is what Kubernetes says of options that contradict themselves.
func invalidOptions(kind string, errs field.ErrorList) error {
	if len(errs) == 0 {
		return nil
	}
	return apierrors.NewInvalid(metav1.SchemeGroupVersion.WithKind(kind).GroupKind(), "", errs)
}
