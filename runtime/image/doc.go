// Package image keeps container images on one machine: it pulls them from OCI registries, reads
// them from OCI layout folders or from memory, unpacks every layer once, and makes overlay root file
// systems from them.
//
// A [Store] owns one folder. [Store.Pull], [Store.Import] and [Store.Load] bring an image in;
// [Store.Get] and [Store.List] describe what is there; [Store.Mount] stacks an image's layers under a
// writable one for a container and [Store.Unmount] throws that away; [Store.Remove] and [Store.GC] free
// the space. [LookupUser] turns an image's USER into numbers. [Build] makes an image from files, without
// a registry or a network.
//
// # What is verified
//
// Manifests, configurations and layers are addressed by digest, and nothing counts before its digest
// was compared: a layer's compressed digest, its size and the digest of its uncompressed tar (the diff id of
// the configuration) all have to agree before the layer's folder gets its final name. A layer whose diff id the store
// has already isn't fetched again, from wherever it came. A manifest that could
// also be read as an index, or that names a key twice, is refused, as is every digest that isn't plain
// hexadecimal of the right length.
//
// Layers are unpacked into folders of their own through file descriptors that cannot leave the folder,
// whatever the archive says: paths with "..", links that point out, device nodes, attributes that are
// overlayfs's own, and archives beyond [Limits] are refused, or left out where real images have them (device
// nodes, foreign attributes). Labels and annotations of images are never read.
//
// Each layer is unpacked by itself, as Docker and Podman do it: a folder that an archive doesn't name, but that
// lies on the way to one of its entries, is root's with mode 0755.
//
// # Credentials
//
// A registry's credentials go to that registry and to the token hosts configured for it
// ([Config.TokenHosts]), over TLS; a redirect or a token realm elsewhere gets none, and one that
// points from a public registry into a private network isn't even dialled.
//
// # Crashes
//
// Everything is prepared under a temporary name and renamed when it is complete, so a process that dies
// at any instruction leaves temporary files, which the next [Open] removes. Mounts outlive the process:
// [Store.Mounts] lists them and [Store.Keep] removes those that nobody wants any more.
//
// The package needs Linux 5.6 and root (CAP_SYS_ADMIN, CAP_CHOWN, CAP_MKNOD and friends).
package image
