// Package kubernetes seals a store as Kubernetes does: by the file of an EncryptionConfiguration
// (apiserver.config.k8s.io/v1), in Kubernetes' own forms. What a kube-apiserver sealed under that file is read, and
// a kube-apiserver reads what is sealed here.
//
//	keys, err := kubernetes.Open(kubernetes.Config{File: "/etc/bedplate/encryption.yaml"})
//	sealed, err := keys.Seal(backend)
//	db, err := storage.New(sealed.Backend(), storage.Config{})
//	go keys.Run(ctx)
//
// The providers are identity, aescbc, aesgcm, secretbox and kms with apiVersion v2, a plugin behind a unix socket. Of
// a plugin the seed of the data's keys is had once for as long as its key ID stays; every value has a key of its own,
// derived from the seed. Reads need the plugin once for each seed that was ever used.
//
// Two of the forms don't say of which key in the store a value is: aescbc and secretbox. Who can write to the store can
// put one value in the place of another; aescbc does not even notice a value that was tampered with. They are here for
// what was written with them. Take kms or aesgcm, or without Kubernetes' file seal.XAESGCM.
//
// # Where it differs from Kubernetes
//
// kms with apiVersion v1 is refused. A file that is read anew and is bad leaves what there was, and is told to the log
// and by Check. What is not a built-in kind lies at <group>/<resource>, as custom resources do in Kubernetes.
package kubernetes
