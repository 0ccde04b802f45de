// Package structural describes the shape of a kind: which fields an object has,
// which lists are sets or maps with keys, and what one owns as a whole.
//
// Server-side apply needs it to merge and to say who owns a field, and OpenAPI
// documents are a rendering of it. A [Type] comes from a Go type ([Of]): its
// json and patch tags, the well-known types of the Kubernetes API, and, for
// k8s.io/api, a generated table of what only comments say there (list types,
// list keys, atomic structs). [New] makes one of anything else, such as the schema
// of a CustomResourceDefinition.
//
// Building is lazy: [Of] looks at the outermost struct, and each further struct
// is looked at when first asked for. A Type is kept by whoever asked for it;
// the package keeps nothing. Everything here may be used concurrently.
package structural

//go:generate go run ./gen -empty -out table.go
//go:generate go run ./gen -out table.go
