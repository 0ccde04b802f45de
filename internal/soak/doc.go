// Package soak breaks a store of three members while twelve clients use it, and checks all that they saw.
//
// Each member is a process of its own in a network namespace of its own: an embedded etcd, a storage.DB over it, and
// a socket by which clients read, write and watch through that DB. So what is tested is the cache and the watches of
// the storage package, over real members that are killed, stopped, cut off and compacted. Three of the clients use a
// DB of their own over all members.
//
// What every operation did and saw is recorded, and the store's whole history beside it, revision by revision, taken
// from each member's own watch. A round ends with everything mended, and is then explained: acknowledged writes are
// in the history at their revisions, reads are what the history was, in an order that real time allows; porcupine
// finds one for every key; each watcher got each revision once, whole and in order; and the members' hashes agree.
// A write without an answer may have happened at any time after it was begun, or never; its value is unique, so the
// history tells.
//
// The tests of the package run a short round of it, cut the power under a member, fill its disk, flip bits in its files,
// and put bugs into a backend to see that each is caught. At length:
//
//	go test ./internal/soak -v -timeout 0 -soak 20m
package soak
