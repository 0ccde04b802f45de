// Package hosts makes hosts of network namespaces: each has an address of its own, on one bridge, and is to a node
// what a machine would be. A cluster of several nodes then fits on one machine, with the traffic between its nodes
// as it is between machines.
//
// Hosts outlive the process that made them, so that pods keep their network while it is replaced: [Open] and
// [Hosts.Add] find what is there, [Hosts.Remove] takes it all away. Linux only.
//
// The names of the hosts' namespaces are in /run/netns, which other network namespaces of the machine may share. A
// namespace is a host of ours if our link leads into it, whatever its name; it has its link before it has its name,
// and loses its name before its link, so that this holds wherever a process ends. Another's is refused, and left alone.
package hosts
