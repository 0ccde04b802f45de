// Package cel compares the rules of schemas with Kubernetes' own evaluation: what is refused when a definition is
// written, what rules cost by estimate and at run time, and what objects are told.
package cel
