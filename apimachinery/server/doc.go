// Package server is a Kubernetes API server that lives in your process: a registry of resources over a
// storage.DB, served to unmodified clients over HTTPS and to code in the same process through [Server.As].
//
// A request meets, in this order: authentication, audit, impersonation, flow control, authorization, decoding,
// defaulting, mutating admission, validation, validating admission, and one transaction. The same code serves
// both doors; in process only the HTTP and TLS work is saved, never a check.
//
// What is stored is the JSON that goes on the wire in the resource's storage version, without
// resourceVersion, which is spliced in when the bytes are served. So a get, a list and a watch in that version
// copy bytes and decode nothing. Other versions, tables and bare metadata are forms that are made once per
// object and revision.
//
// [New] starts nothing. [Server.Run] serves HTTPS until its context ends and then drains: watches are closed,
// requests under way are finished. Everything that grows has a limit in [Config].
package server
