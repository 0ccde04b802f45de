// Package discovery makes the documents by which clients learn what an API server serves: /api, /apis and below,
// in the form of one document per group-version and in the aggregated form (apidiscovery.k8s.io/v2).
//
// Groups that other servers have come from a [Source]. One that doesn't answer is Stale and disturbs no other.
//
// The functions [Groups], [Resources] and [Aggregated] are pure; [Handler] serves their encodings, kept until
// the Registry changes.
package discovery
