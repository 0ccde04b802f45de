// Package storage is a watchable store of bytes over any etcd v3, or in memory.
//
// A [Backend] is the little that an etcd must offer: read a range at one revision, commit a transaction,
// watch, and name the current revision. Everything else derives from it. A [DB] holds one backend and
// keeps one watch on it, however many tables there are. A [Table] is one kind of thing under one key
// prefix: its objects are cached as the exact bytes that are stored, loaded when first asked for. What
// readers get is immutable and shared: an [Entry] is one object at one revision, a [Snapshot] the whole
// table at one revision, an [Event] one change. [Store] is a thin typed layer over a table for those who
// want Go values instead of bytes.
//
// The revision of every cache is the revision of the DB, so that snapshots of two tables at the same
// revision agree. A consistent read asks the backend for its revision, together with all others that ask
// at that moment, and waits until the cache has seen it. Writes go straight to the backend and may carry
// conditions on any other key, compared in the same transaction.
//
// A key may go with a lease ([DB.Grant], [Write.Lease]): when nobody keeps it alive any longer, the key is
// deleted, and watches see it. [Locks] are built on that: named locks that processes share, handed over in the
// order in which they were asked for. A lock's fence ([Lock.Fence]) is a condition for writes, so that the
// store itself refuses what a holder writes who was paused until the lock was another's.
//
// Storage knows nothing of what the bytes mean. A [Schema]'s hook reads a [Head] from each stored object,
// once; filters and indexes read the head alone.
//
// # Reading
//
// [Table.Get] and [Table.Snapshot] read at the latest revision, or not before one; [Table.GetAt] and an exact Snapshot
// at any revision that the store still has; [Table.History] tells what an object was lately. A [Filter] names what must
// be equal ([Filter.Key], [Filter.LabelIs], [Filter.IndexIs]): lists then cost what they return, and a [Watcher] is
// woken by what it wants alone.
//
// # Around it
//
// storage/etcd and storage/etcd/embedded are backends over an etcd elsewhere and in this process, storage/memory is one
// without. storage/seal encrypts the values of any backend. storage/etcd/care compacts and defragments,
// storage/etcd/backup saves and restores. storage/storetest proves a backend of your own.
package storage
