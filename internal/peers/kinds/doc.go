// Package kinds compares the built-in kinds with Kubernetes' own: its registry strategies (preparation, validation,
// grace), its scheme (defaults, conversions) and its printers (columns), on the objects of the corpus, on random ones,
// and on thousands of objects that differ from a valid one in a field or two.
//
// What stays different is in a table with its reason (differences_test.go). More, and others, are tried with
//
//	go test ./kinds -oneof 1 -seed 2
package kinds
