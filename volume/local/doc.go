// Package local makes the volumes that need nothing but the node and its API: emptyDir, hostPath, configMap, secret,
// downwardAPI and projected, with the subPaths of all of them. It is what runtime/agent calls Volumes.
//
// Files that come from the API are written to a folder of their own and shown by swapping one symbolic link, so that
// a reader sees all of a change or nothing of it. Secrets and tokens lie in memory (tmpfs). A subPath is resolved
// inside its volume by the kernel and pinned by a bind mount, so that no exchange of a symbolic link leads outside.
package local
