// Package kinds compares the built-in kinds with Kubernetes' own defaults, validation and preparation, on the objects
// of the corpus, on random ones, and on thousands of objects that differ from a valid one in a single field.
package kinds
