package apimachinery

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// The media types that this package reads.
const (
	JSON = "application/json"
	YAML = "application/yaml"
)

// Encode returns o as one line of JSON, as the field tags have it: byte for byte what encoding/json writes with
// SetEscapeHTML(false), and its errors. o must have its apiVersion and kind set if they are to appear. It is safe
// for concurrent use, of one object too, as long as nobody changes that.
func Encode(o any) ([]byte, error) {
	out, err := encoders.encode(o)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", o, err)
	}
	return out, nil
}

// AppendEncode appends to dst what [Encode] returns, for callers that use a buffer again. After an error it
// returns dst as it was.
func AppendEncode(dst []byte, o any) ([]byte, error) {
	out, err := encoders.append(dst, o)
	if err != nil {
		return dst, fmt.Errorf("encode %T: %w", o, err)
	}
	return out, nil
}

// Decode reads JSON into a pointer as Kubernetes does: names are case-sensitive, integers stay integers. Unknown
// and duplicate fields come back as strict errors, in the words of a Kubernetes server ("unknown field
// \"spec.foo\""); what to do with them is the caller's to choose, and into is filled in spite of them.
func Decode(data []byte, into any) (strict []error, err error) {
	return kjson.UnmarshalStrict(data, into)
}

// DecodeLoose is [Decode] for those who don't want to know of unknown fields.
func DecodeLoose(data []byte, into any) error {
	return kjson.UnmarshalCaseSensitivePreserveInts(data, into)
}

// ToJSON returns a body as JSON: JSON as it is, YAML converted. Duplicate keys of YAML come back as strict errors.
func ToJSON(body []byte, contentType string) (out []byte, strict []error, err error) {
	if contentType != YAML {
		return body, nil, nil
	}
	out, err = yaml.YAMLToJSONStrict(body)
	if err == nil {
		return out, nil, nil
	}
	strict = []error{err}
	if out, err = yaml.YAMLToJSON(body); err != nil {
		return nil, nil, err
	}
	return out, strict, nil
}

// SetKind writes a view's apiVersion and kind into an object of its type.
func SetKind(o Object, v *View) {
	o.GetObjectKind().SetGroupVersionKind(v.GroupVersionKind)
}

// TypeMetaOf reads the apiVersion and kind of a JSON body, and nothing else.
func TypeMetaOf(data []byte) (metav1.TypeMeta, error) {
	var m metav1.TypeMeta
	err := DecodeLoose(data, &m)
	return m, err
}
