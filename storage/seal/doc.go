// Package seal encrypts the values of a store at rest: a storage.Backend around a storage.Backend. What lies below it,
// an etcd and its disks, backups and operators, sees keys, revisions and sealed values; what lies above it (DB, tables,
// caches) sees plain ones and knows nothing of it.
//
// Rules say which keys are sealed, by which providers. The first provider of a rule writes, all of them read:
//
//	sealed, err := seal.New(etcd, seal.Config{Rules: []seal.Rule{{
//		Prefixes:  []string{"/registry/secrets/"},
//		Providers: []seal.Provider{newKey, oldKey, seal.Identity},
//	}}})
//	db, err := storage.New(sealed.Backend(), storage.Config{})
//
// # Changing a key
//
// Put the new key behind the old one, in every process that uses the store ([Sealed.SetRules] needs no restart). When
// all can read it, put it first. When all write it, call [Sealed.Rewrite] in one of them, which seals everything else
// with it. When the store has compacted the revisions before that (the embedded etcd keeps them for minutes), the old
// key can go: until then, a watch that lags or a read of the past meets values that need it, and would take them for
// corrupt. A backup needs the keys of its day.
//
// Encrypting a store that was plain is the same with Identity as the old key, and decrypting it is the same with
// Identity as the new one. Identity should go when it has done its work: as long as it is there, who can write to the
// etcd can put a plain value where a sealed one was.
//
// # Which provider
//
// [XAESGCM] is fast, needs no rotation for its own sake, and is what to take unless there is a reason. [AESGCM] is
// Kubernetes' own form: a kube-apiserver with the same key reads what it writes, and it reads what a kube-apiserver
// wrote. A key of it must be rotated long before 2^32 writes. [Secretbox] is XSalsa20 and Poly1305, for those who
// have no AES in hardware. All three bind a value to its key in the store. [KubernetesSecretbox] reads Kubernetes'
// form of secretbox, which does not, and writes nothing. Key management services and Kubernetes' configuration file
// come from elsewhere: Provider is the interface for them.
//
// # What it protects
//
// A value that was changed by as much as a bit, or copied or moved to another key, is refused. It is handed up as corrupt
// (KV.Corrupt): the table marks that object alone, everything else is served, watches go on, and the object can be
// deleted or overwritten by its revision.
//
// What it does not hide or prevent: keys, labels in them, sizes and times of writes are seen by who sees the store,
// and who can write to it can delete keys and put back an older value of the same key, with a revision that looks new.
// The process that holds the keys has plain values in memory.
package seal
