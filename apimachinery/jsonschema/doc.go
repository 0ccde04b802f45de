// Package jsonschema gives structural schemas, the ones that CustomResourceDefinitions hold, their meaning:
// it judges schemas and, by them, prunes, defaults and validates objects, as apiextensions/v1 of Kubernetes does.
//
// [Check] judges a schema when it is written. [Compile] turns one that passed into a [Schema], which is small (equal
// parts are shared, descriptions are left out) and does the work for each object: [Schema.Prune], [Schema.Default],
// [Schema.CoerceMetadata] and [Schema.Validate], in this order. [Schema.Shape] says which lists and maps are owned as
// a whole, for managed fields and apply; [OpenAPI] renders what documents publish. [FromGo] goes the other way: from
// a Go type and its tags to a schema.
//
// Expressions of x-kubernetes-validations are not evaluated here: Check looks at all but the expression itself.
//
// Objects are what k8s.io/apimachinery's unstructured has: map[string]any, []any, string, int64, float64, bool and
// nil. Everything is a pure function of its arguments, and a Schema may be used concurrently.
//
// Work is bounded: schemas by [MaxDepth] and [MaxNodes], what is told of an object by [MaxErrors] and [MaxDropped],
// and the steps of one validation by [MaxSteps].
package jsonschema

// Bounds on hostile input.
const (
	// MaxDepth is how many levels deep a schema may be.
	MaxDepth = 500
	// MaxNodes is how many schemas one schema may consist of.
	MaxNodes = 200_000
	// MaxErrors is how many errors Validate tells at most; the last one says that there are more.
	MaxErrors = 1000
	// MaxDropped is how many paths Prune tells at most. What is dropped beyond that is dropped in silence.
	MaxDropped = 1000
	// MaxSteps is how many pairs of a schema and a value Validate looks at; then the object is refused.
	MaxSteps = 20_000_000

	maxDroppedBytes = 256 << 10
)
