package apimachinery

import "github.com/go-json-experiment/json/jsontext"

// Unambiguous reports whether data is a JSON object, in UTF-8, in which no name occurs twice: one that [Decode] has
// nothing to say about as far as that goes. It decodes nothing.
func Unambiguous(data []byte) bool {
	v := jsontext.Value(data)
	return v.Kind() == '{' && v.IsValid()
}
