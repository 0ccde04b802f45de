// Package backup saves an etcd to a file and makes a data folder of such a file.
//
// [Save] takes a snapshot while the etcd is in use, from a client or from an embedded member in process, and
// reads it again before it says that there is one. [Restore] makes a folder that an embedded.Server, or a
// standalone etcd, starts from. The files are etcd's own: etcdutl reads those of Save, and Restore those of
// etcdctl and of a client's Snapshot.
//
// # Time does not run backwards
//
// A restored store lacks the writes since the snapshot, but its clients may have seen them. If it went on
// counting where the snapshot ends, revisions would be used twice: a cache would take old data for new, a watch
// would pass over what happened in between, and a condition on a revision could hold for another object. So
// Restore raises the revision by [Config].Bump, a thousand million, and marks all before as compacted, as etcd's
// documentation advises. A client that goes on from a revision of the old store gets storage.ErrTooOld (410 in
// an API), lists anew, and sees newer revisions alone. A storage.DB does that by itself.
//
// That is right as long as nobody has seen a revision beyond the raised one. If the same snapshot, or an older
// one, is restored a second time, [Config].Above must be at least the newest revision of the store that is given
// up; when that is unknown, a higher Bump than before will do.
//
// # A cluster of several members
//
// Restore makes one member, the first of a new cluster with an identity of its own: members of the old cluster
// cannot mix with it. Stop all of the old ones, restore one, start it, and let the others join as new members with
// empty folders; they get everything from it. With embedded.Config.Cluster that is Server.Invite; with standalone
// etcd it is etcdctl member add.
//
// Leases are restored with the keys that they hold, and begin anew. The alarm of a full store is not restored.
package backup
