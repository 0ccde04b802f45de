// Package audit keeps a record of requests as Kubernetes does: a policy file (audit.k8s.io/v1, kind Policy) says how
// much is kept of which, and backends keep it, in a file that rotates or at a webhook.
//
//	policy, err := audit.ReadPolicy("/etc/bedplate/audit.yaml")
//	a, err := audit.New(audit.Config{Policy: policy, File: &audit.File{Path: "/var/log/audit.log", MaxSize: 100, MaxBackups: 5}})
//	s, err := server.New(server.Config{Audit: a, ...})
//
// Run the [Auditor] before the server takes requests and end it after the server has ended, so that nothing is lost.
//
// # What is kept
//
// At level Metadata an event has no object: neither what was sent nor what was answered. Messages of refusals are kept,
// and say what the client is told. At Request and RequestResponse objects are kept whole, Secrets and tokens too: a
// policy should keep those at Metadata.
//
// # Where it differs from Kubernetes
//
// A policy with fields that are unknown or given twice is refused; kube-apiserver takes what it understands of it.
// Requests of the control plane's own parts are audited like all others, though they don't come over HTTP; they have no
// source address. An answer above 8 MiB is left out and the event annotated with audit.k8s.io/truncated.
package audit
