// Package bedplate bolts the parts of a Kubernetes-style control plane together: [Start] gives you a store, an
// API server, controllers and a scheduler in your process, ready in a fraction of a second, and unmodified
// kubectl, client-go and controller-runtime can talk to it.
//
// Each part also works alone. In the order in which a request meets them:
//
// storage keeps objects as bytes over an etcd (in this process, or anywhere) or in memory, caches them in full,
// and tells watchers of every change.
//
// apimachinery declares what an object, a resource and a request are; apimachinery/kinds has the built-in
// kinds; apimachinery/server serves them; apimachinery/client talks to any server, in this process or over HTTPS.
//
// rbac says who may do what, and admission what may come in.
//
// reconcile runs controllers against any Kubernetes API: informers, queues, leader election, and in
// reconcile/controllers the ones that make a Deployment into pods.
//
// scheduling puts items onto hosts; scheduling/pods puts pods onto nodes.
//
// runtime runs containers, and runtime/agent the pods of a node. runtime/node assembles a whole node, as this
// package assembles a control plane without one.
//
// docs/ARCHITECTURE.md walks through a write, an event and the start of a pod.
package bedplate
