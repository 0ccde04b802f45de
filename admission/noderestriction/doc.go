// Package noderestriction is the admission plugin that judges what a node writes: its own Node without labels,
// taints and owners that aren't a node's to set, its own Lease and CSINode, mirror pods and the status of its own
// pods, and tokens for its own pods.
//
// It is an allow-list: what a node may change is named, everything else must stay. It belongs together with the
// authorizer of rbac/node, which decides on verbs and names.
package noderestriction
