// Package apimachinery holds what every part of a Kubernetes-style API shares: objects, the resources that
// declare them, requests and responses, and the small interfaces between a server and its security chain.
//
// The wire types are those of k8s.io/api and k8s.io/apimachinery: any built-in type, any kubebuilder type and
// any [Typed] is an [Object]. A [Resource] binds one Go type (the hub) to a table of stored objects and to the
// group-versions ([View]) under which clients see it, together with its defaults, validation, columns and
// subresources. A [Registry] is a set of resources: a value, never a global, so that two control planes fit in
// one process.
//
// [Doer] is the one door to an API: apimachinery/server implements it in this process, apimachinery/client
// implements it over HTTPS, and the same [Request] gives the same [Response] through both.
package apimachinery
