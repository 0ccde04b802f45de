// Package scheduling decides which host an item runs on.
//
// It knows neither pods nor nodes: the item type I and the host type H are the
// caller's, and everything that is particular about them lives in plugins. The
// package scheduling/pods applies it to Kubernetes; an own scheduler of batch
// jobs onto machines, or of shards onto disks, needs nothing but this package
// and imports nothing but the standard library.
//
// The parts, in the order in which an item meets them:
//
//   - [Queue] orders the items that wait: by priority and time, with back-off
//     after a failure, and with a place apart for items that no host fits until
//     an event makes another try worthwhile.
//   - [Engine] knows the hosts and what is placed on them, keeps every plugin's
//     columns current by deltas, and answers where an item should go.
//   - [Cycle] joins the two into pure steps: it reads no clock, starts no
//     goroutine and does no I/O, so that a simulation can own every interleaving.
//   - [Scheduler] drives a Cycle: it binds asynchronously, bounded, and in order
//     for each host.
//
// # Columns
//
// A plugin keeps arrays indexed by host number ([Columns]) and answers for all
// hosts in one call: a [Filter] clears bits of a [Hosts] set, a [Score] fills
// an array. That costs a few nanoseconds per host where a call per host costs
// ten times as much. [PerHost] adapts the small form, a function of one item
// and one host, for plugins that needn't be fast.
//
// Reasons are not computed on the way: [Engine.Explain] asks each plugin's
// [Explainer] afterwards, for the hosts that were refused.
//
// # Items and hosts are shared
//
// Values handed in are kept and handed to plugins. The caller must not change
// what they point to afterwards; a change is a new value.
package scheduling
