// Package care keeps an etcd well: it compacts history by time, gives space back to the file system, lifts the
// alarm of a full store once there is room, and tells metrics. It works with any etcd through its client, and
// with an embedded member in process:
//
//	care.New(care.Config{Backend: backend, Maintenance: client})                       // *etcd.Backend, *clientv3.Client
//	care.New(care.Config{Backend: server.Backend(), Maintenance: server.Maintenance()}) // *embedded.Server
//
// An embedded member compacts by itself: set embedded.Config.History to -1, or the shorter of both histories holds.
//
// # Compaction
//
// Etcd keeps every version of every key until it is told to compact. A [Keeper] notes the revision at each
// look and compacts to the one of [Config].History ago. Several may do so on one etcd, Kubernetes' API servers
// beside them: each compacts only to what is older than its own history, so nobody loses what the shortest
// history promises, and compacting to a revision twice is refused by etcd without effect. So there is no
// election for it.
//
// Watches that are up to date don't notice. A read or watch of an older revision gets storage.ErrTooOld.
//
// # Defragmentation
//
// Etcd uses free pages again, but never shrinks its file. Defragmentation rewrites it. While it lasts the member
// neither reads nor applies anything: 30 ms for each MB that is in use were measured on a very busy
// machine (BenchmarkDefragment). With three members, clients of the two others go on. So it is done only
// when it pays ([Config].MinFree, [Config].MinFreeRatio, or the quota is near), never while a member is not well,
// one member at a time, and the leader last.
//
// While somebody reads a snapshot of a member, a defragmentation of that member stands still until the snapshot has
// been read, and the member with it. An embedded member refuses it instead; with a client, save a snapshot when
// nothing is to be defragmented, or to a fast disk.
//
// One at a time holds across processes: each Keeper has a ticket in a queue of the store (a key that goes with
// its lease), and only the first in the queue defragments. The tickets are drawn before they are needed,
// because a full etcd takes no new key; there, who has nothing to do tears up its ticket, which is a deletion.
// A Keeper that first starts on a full etcd has no ticket and waits until there is none at all: several that start
// then may defragment different members at a time. A backend
// without leases (storage.Leaser) has no queue: then there must be one Keeper.
//
// # A full store
//
// Beyond its quota etcd raises the alarm NOSPACE and refuses writes but deletions, with storage.ErrNoSpace.
// Deleting alone does not help: the history still holds what was deleted, and the file keeps its size. A Keeper
// that sees the alarm compacts to the revision of the look before, defragments each member whose remaining data
// would fit, and lifts the alarm. Whoever deletes enough can write again after
// about six looks, a minute by default.
//
// # Metrics
//
// [Measure] wraps a backend and counts requests; [Objects] tells what the tables of a DB hold; a Keeper tells
// the size of the store; all under Kubernetes' names, on the registerer that they are given. Etcd's own metrics
// (etcd_…) are counted by etcd's packages in the one registry of the process; [EtcdMetrics] hands out these and
// nothing else of it.
package care
