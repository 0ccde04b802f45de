// Package interop runs unmodified clients (kubectl, client-go, controller-runtime) against a Bedplate control
// plane. It is a module of its own, so that users of Bedplate don't download what it needs.
package interop
