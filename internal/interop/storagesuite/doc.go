// Package storagesuite runs Kubernetes' own storage suite (k8s.io/apiserver/pkg/storage/testing) against Bedplate's
// storage: in memory, over an embedded etcd, and sealed (storage/seal).
//
// [Adapter] makes a [github.com/bedplate/bedplate/storage.Table] into the storage.Interface of an API server. It
// translates and adds as little as it can: revisions, conditions, snapshots, pages, filters, leases and watches are the
// table's. Its own are the codec, the transformer, bookmarks by the clock, and the words of Kubernetes' errors.
//
// The table suite in suite_test.go has what is run and how, the table left what is not and why. That nothing of the
// suite is missing from both is a test, too.
//
// Beside it, values sealed by Kubernetes' own encryption at rest are opened by storage/seal, and the other way round.
package storagesuite
