// Package rbac decides by Kubernetes' roles and bindings who may do what.
//
// [New] makes an authorizer of a [Source]; [Index] is the Source that is fed with objects as they change and
// answers in less than a microsecond. [Covers] and [NoEscalation] keep people from granting more than they have.
// [Masters] and [Union] combine authorizers, and [Bootstrap] is the policy that a fresh control plane begins
// with, in which each of its parts has its own least-privileged identity.
//
// Rule evaluation is a pure function of rules and attributes: no clock, no I/O.
package rbac
