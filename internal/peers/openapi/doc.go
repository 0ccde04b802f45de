// Package openapi compares what package apimachinery/openapi says about the Go types of Kubernetes with the documents that
// Kubernetes publishes.
package openapi
