// Package controllers uses sigs.k8s.io/controller-runtime, as it is: an operator with a kind of its own in two
// versions, tested as its authors would with envtest, on a control plane in the same process.
package controllers
