// Package envtest runs a controller-runtime suite as it is written for envtest, on apimachinery/apitest in its place.
package envtest
