// Package managedfields keeps account of who owns which field of an object, and merges what managers
// apply: the server-side apply of Kubernetes, entries and conflicts included.
//
// It works on JSON. [Update] is for creates, updates and patches: it finds what a write changed in one walk
// over the old and the new bytes, and hands those fields to the writer. [Apply] merges an applied
// configuration into the live object, removes what its manager no longer applies, and reports conflicts
// with other managers. Both are pure functions: time comes in with the [Manager], nothing is kept.
//
// A server calls Update where Kubernetes does: after decoding and defaulting, before mutating admission and
// before the kind's own preparation of the object. So a writer owns what was sent and what was defaulted,
// and nobody owns what the server added. Apply comes at the same place, but before defaulting: a manager
// owns what it applied alone. There is nothing to do afterwards. Which fields a write through a subresource
// can't change anyway ("status" on the object itself, all but status on the status subresource) is the
// server's knowledge: it hands them in as the reset set, and they are never owned through that door.
//
// Entries of several versions of a kind live side by side: paths are compared as they are, without
// converting the object, so a path that a version doesn't have is left alone.
package managedfields
