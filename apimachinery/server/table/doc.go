// Package table renders objects as Kubernetes' other shapes: as rows of a metav1.Table by the columns of their
// view, and as PartialObjectMetadata by cutting the metadata out of their JSON.
//
// Everything is appended to the caller's buffer, so that a list of any length is streamed row by row.
package table
