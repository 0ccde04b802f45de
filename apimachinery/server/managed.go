package server

import (
	"encoding/json"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// managedSize is about how long appendManaged's result is.
func managedSize(managed []metav1.ManagedFieldsEntry) int {
	n := 32
	for i := range managed {
		n += 192
		if f := managed[i].FieldsV1; f != nil {
			n += len(f.GetRawBytes())
		}
	}
	return n
}

// appendManaged appends managedFields as an encoder would write them, but takes the fields, which are the bulk of
// it and JSON already, as they are.
func appendManaged(dst []byte, managed []metav1.ManagedFieldsEntry) ([]byte, error) {
	dst = append(dst, '[')
	for i := range managed {
		if i > 0 {
			dst = append(dst, ',')
		}
		m := managed[i]
		fields, sub := m.FieldsV1, m.Subresource
		m.FieldsV1, m.Subresource = nil, ""
		raw, err := json.Marshal(&m)
		if err != nil {
			return dst, err
		}
		dst = append(dst, raw[:len(raw)-1]...)
		if fields != nil {
			dst = append(appendComma(dst), `"fieldsV1":`...)
			dst = append(dst, fields.GetRawBytes()...)
		}
		if sub != "" {
			raw, err := json.Marshal(sub)
			if err != nil {
				return dst, err
			}
			dst = append(append(appendComma(dst), `"subresource":`...), raw...)
		}
		dst = append(dst, '}')
	}
	return append(dst, ']'), nil
}

// appendComma appends a comma unless an object has just begun.
func appendComma(dst []byte) []byte {
	if dst[len(dst)-1] == '{' {
		return dst
	}
	return append(dst, ',')
}
