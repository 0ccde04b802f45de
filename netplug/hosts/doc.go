// Package hosts makes hosts of network namespaces: each has an address of its own, on one bridge, and is to a node
// what a machine would be. A cluster of several nodes then fits on one machine, with the traffic between its nodes
// as it is between machines.
//
// Hosts outlive the process that made them, so that pods keep their network while it is replaced: [Open] and
// [Hosts.Add] find what is there, [Hosts.Remove] takes it all away. Linux only.
package hosts
