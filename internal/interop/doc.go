// Package interop runs unmodified clients (kubectl, client-go, controller-runtime) against a Bedplate control
// plane, and examples/cluster as its users run it. It is a module of its own, so that users of Bedplate don't download
// what it needs.
//
// As root, the tests run in a network namespace of their own, so that nothing happens to the machine's. Without root,
// those of a control plane alone pass, and those that need nodes say that they need root.
package interop
