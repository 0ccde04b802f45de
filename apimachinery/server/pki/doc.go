// Package pki is the certificate authority of a control plane that brings its own: serving and client
// certificates, the key that signs service-account tokens, and kubeconfig files.
//
// Keys are ECDSA P-256. Everything lies in one folder (ca.crt, ca.key, apiserver.crt, apiserver.key, sa.key),
// written atomically, keys with mode 0600; whoever can read ca.key or sa.key is the administrator of the cluster.
package pki
