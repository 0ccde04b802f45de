// Package informer keeps the objects of a resource in memory, current, indexed, and tells of every change.
//
// An [Informer] is filled in one of two ways, and behaves the same in both: [New] lists and watches over a client,
// against any Kubernetes; [View] follows a table of a server in the same process, whose objects exist once for all
// and are decoded when somebody asks for them.
//
// Reads never block and never leave the process. [Informer.Get] hands out the caller's own copy; [Informer.View],
// [Informer.List] and [Informer.ByIndex] hand out the shared object, which nobody may change. [Informer.Rev] says
// how current the cache is, and [Informer.WaitFor] waits for a revision, such as that of one's own write.
//
// Changes come through [Informer.Handle], in order and none missing, or through a [Subscription], which merges the
// changes of an object that its reader has not seen yet and so never holds more than one per object.
package informer
