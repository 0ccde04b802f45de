// Package openapi renders what an API server says about its kinds at /openapi: one OpenAPI v3 document for each
// group and version, the index of them, and the one OpenAPI v2 document of them all.
//
// Models are made from Go types by way of package structural: descriptions from SwaggerDoc methods, model names from
// OpenAPIModelName, patch semantics from tags, and, for the types of Kubernetes, a generated table of what only comments
// say there: list types and keys, defaults, what is required, enumerations. Custom kinds bring schemas of their own.
//
// The documents hold what clients look up: kubectl explain follows paths to kinds and $refs to fields, kubectl apply
// computes strategic merge patches from the x-kubernetes-patch extensions, and every kubectl command that sends an
// object asks the PATCH operation whether the server knows the fieldValidation parameter. The documents describe no
// more operations than the server says that it has.
//
// Everything is a pure function of its arguments: whoever serves a document makes it when first asked.
package openapi
