package openapi

import "reflect"

// describedHere describes what has no description of its own: the Go types of kinds whose modules have no SwaggerDoc.
// An empty field is the type itself.
func describedHere(rt reflect.Type, field string) string { return "" }
