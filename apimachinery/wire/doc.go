// Package wire translates between HTTP and [apimachinery.Request] and [apimachinery.Response], in both
// directions, as Kubernetes' API has them on the wire: paths, verbs, query options, headers, statuses.
//
// A server calls [Parse], then [WriteResponse] or [WriteError]; a client calls [Build], then [ReadResponse].
// Build and Parse are inverses. Everything here is a function of its arguments and safe for concurrent use.
//
// Two conventions carry what one Request has no field for:
//   - The options of a delete travel in the body; [DeleteOptions] finds them wherever they are. The Options of
//     a deletecollection are its ListOptions.
//   - The query parameter includeObject of a Table travels in Accept, as the parameter "include" behind "as=Table".
package wire
