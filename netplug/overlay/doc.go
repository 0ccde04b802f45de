// Package overlay brings the pods of one node to those of the others. It follows the Nodes of a cluster and keeps
// routes to their pod ranges in the kernel: straight to the nodes' addresses where all nodes are neighbours
// ([Routes]), or through a VXLAN tunnel ([VXLAN]).
//
// [Plan] is the whole decision, as a function of the Nodes; [Overlay] brings the kernel to it by difference. What it
// makes carries a route protocol number and a link of its own, so that it finds its work again after a crash and never
// touches anybody else's.
package overlay
