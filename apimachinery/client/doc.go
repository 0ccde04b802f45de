// Package client is one way to talk to an API, whether it is a server in this process or any Kubernetes behind
// HTTPS.
//
// A [Client] wraps an apimachinery.Doer and a registry of the kinds that the caller knows. [For] gives the typed
// door to one kind:
//
//	pods := client.For[*corev1.Pod](c)
//	pod, err := pods.Get(ctx, "default", "web")
//
// Every object that comes back is the caller's own copy, with its apiVersion and kind set. Errors are those of
// k8s.io/apimachinery/pkg/api/errors (apierrors.IsNotFound, IsConflict, …) with the operation in front; a kind
// that the registry doesn't know is an error of each call, never a panic.
//
// [Metadata] is the same door to the metadata alone of any resource, for controllers that work on all kinds.
// [HTTPS] and [Over] make Doers of connections; package kubeconfig makes them of kubeconfig files.
package client
