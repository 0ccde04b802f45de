package server

import (
	"errors"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/wire"
)

// input is the request's object as JSON.
func (c *call) input() ([]byte, []error, error) {
	body, contentType := c.r.Body, c.r.ContentType
	if body == nil && c.r.Object != nil {
		var err error
		if body, err = apimachinery.Encode(c.r.Object); err != nil {
			return nil, nil, apierrors.NewBadRequest(err.Error())
		}
		contentType = apimachinery.JSON
	}
	if int64(len(body)) > c.s.c.Limits.Body {
		return nil, nil, c.s.tooLarge()
	}
	switch contentType {
	case "", "*/*":
		contentType = apimachinery.JSON
	case apimachinery.JSON, apimachinery.YAML:
	case apimachinery.Protobuf:
		out, err := apimachinery.FromProtobuf(body, c.sent())
		if err != nil {
			return nil, nil, apierrors.NewBadRequest(err.Error())
		}
		return c.toJSON(out, apimachinery.JSON)
	default:
		return nil, nil, unsupportedMedia(contentType, apimachinery.JSON, apimachinery.YAML, apimachinery.Protobuf)
	}
	return c.toJSON(body, contentType)
}

// sent is an empty object of the kind that the request carries.
func (c *call) sent() apimachinery.Object {
	if c.sub != nil && c.sub.New != nil {
		return c.sub.New()
	}
	return c.v.found.New()
}

func (c *call) toJSON(body []byte, contentType string) ([]byte, []error, error) {
	out, strict, err := apimachinery.ToJSON(body, contentType)
	switch {
	case err != nil:
		return nil, nil, apierrors.NewBadRequest(fmt.Sprintf("the object provided is unrecognized (must be of type %s): %v", c.v.gvk.Kind, err))
	case int64(len(out)) > c.s.c.Limits.Body:
		return nil, nil, c.s.tooLarge()
	case len(out) == 0:
		return nil, nil, apierrors.NewBadRequest(fmt.Sprintf("the body is empty: it must be a %s", c.v.gvk.Kind))
	}
	return out, strict, nil
}

func (s *Server) tooLarge() error {
	return apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("limit is %d", s.c.Limits.Body))
}

func unsupportedMedia(got string, want ...string) error { return wire.UnsupportedMedia(got, want...) }

// decode reads JSON into an object of the given kind, and does with unknown fields what the request wants.
func (c *call) decode(body []byte, strict []error, gvk schema.GroupVersionKind, into apimachinery.Object) error {
	more, err := c.read(body, into)
	if kindErr := checkKind(kindOf(body, into, err), gvk); kindErr != nil {
		return kindErr
	}
	if err != nil {
		return undecodable(gvk, err)
	}
	strict = append(strict, more...)
	if len(strict) == 0 {
		return nil
	}
	switch c.options.validation {
	case metav1.FieldValidationIgnore:
	case metav1.FieldValidationStrict:
		return undecodable(gvk, fmt.Errorf("strict decoding error: %w", joined(strict)))
	default:
		for _, err := range strict {
			c.warn(err.Error())
		}
	}
	return nil
}

// kindOf is what the body says that it is, even if it could not be decoded whole.
func kindOf(body []byte, decoded apimachinery.Object, err error) metav1.TypeMeta {
	if err != nil {
		m, _ := apimachinery.TypeMetaOf(body) // nothing is as good as what it says
		return m
	}
	version, kind := decoded.GetObjectKind().GroupVersionKind().ToAPIVersionAndKind()
	if version == "" { // nothing is said, or what is no version
		if m, err := apimachinery.TypeMetaOf(body); err == nil {
			version = m.APIVersion
		}
	}
	return metav1.TypeMeta{APIVersion: version, Kind: kind}
}

func joined(errs []error) error {
	texts := make([]string, len(errs))
	for i, err := range errs {
		texts[i] = err.Error()
	}
	return errors.New(strings.Join(texts, ", "))
}

func undecodable(gvk schema.GroupVersionKind, err error) error {
	return apierrors.NewBadRequest(fmt.Sprintf("%s in version %q cannot be handled as a %s: %v", gvk.Kind, gvk.Version, gvk.Kind, err))
}

// checkKind refuses an object that says it is something else. One that says nothing is what the path says.
func checkKind(m metav1.TypeMeta, want schema.GroupVersionKind) error {
	if m.APIVersion != "" && m.APIVersion != want.GroupVersion().String() {
		return apierrors.NewBadRequest(fmt.Sprintf("the API version in the data (%s) does not match the expected API version (%s)", m.APIVersion, want.GroupVersion()))
	}
	if m.Kind != "" && m.Kind != want.Kind {
		return apierrors.NewBadRequest(fmt.Sprintf("%s in version %q cannot be handled as a %s: the kind in the data (%s) does not match the expected kind (%s)", m.Kind, want.Version, want.Kind, m.Kind, want.Kind))
	}
	return nil
}

// decodeHub reads JSON of the request's view into a hub object with its defaults.
func (c *call) decodeHub(body []byte, strict []error) (apimachinery.Object, error) {
	o := c.v.found.New()
	if err := c.decode(body, strict, c.v.gvk, o); err != nil {
		return nil, err
	}
	hub, err := c.v.toHub(o)
	if err != nil {
		return nil, undecodable(c.v.gvk, err)
	}
	c.defaults(hub)
	c.carries(hub, true)
	return hub, nil
}

func (c *call) defaults(hub apimachinery.Object) {
	if c.k.res.Default != nil {
		c.k.res.Default(hub)
	}
}
