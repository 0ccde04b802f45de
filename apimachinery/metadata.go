package apimachinery

import (
	"bytes"

	gojson "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// DecodeMetadata decodes the metadata of an object's JSON like [DecodeLoose], and looks at nothing that comes after
// it. into must be empty; JSON without metadata leaves into as it is.
func DecodeMetadata(raw []byte, into *metav1.ObjectMeta) error {
	d := jsontext.NewDecoder(bytes.NewBuffer(raw), jsontext.AllowDuplicateNames(true))
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	for d.PeekKind() == '"' {
		name, err := d.ReadToken()
		if err != nil {
			return err
		}
		wanted := name.String() == "metadata"
		value, err := d.ReadValue()
		if err != nil {
			return err
		}
		if wanted {
			return decodeMeta(value, into)
		}
	}
	_, err := d.ReadToken()
	return err
}

// decodeMeta takes the quick way where the input has nothing unusual.
func decodeMeta(raw []byte, into *metav1.ObjectMeta) error {
	var m metav1.ObjectMeta
	if gojson.Unmarshal(raw, &m, jsontext.AllowDuplicateNames(true)) == nil {
		*into = m
		return nil
	}
	return DecodeLoose(raw, into)
}
