// Package node authorizes nodes: each may read what its own pods refer to, and write its own Node, Lease, CSINode
// and the status of its own pods. What all nodes have in common (services, events, …) is rbac.NodeRules.
//
// The authorizer sees verbs, names and selectors alone. What a node may write into those objects is judged by
// admission/noderestriction; the two belong together.
package node
