package garbagecollector

import (
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// ID is where an object is.
type ID struct {
	Kind            schema.GroupKind
	Namespace, Name string
	UID             types.UID
}

// Node is an object, as the graph knows it.
type Node struct {
	ID
	// Virtual objects are known only because others say that they own them: nobody has seen them.
	Virtual bool
	// Deleting, Foreground and Orphan say that it is being deleted, and that it waits for its dependents to be
	// deleted or let go.
	Deleting, Foreground, Orphan bool
	Owners                       []metav1.OwnerReference

	dependents map[types.UID]*Node
}

// Graph says who owns whom. Its steps are pure: they return what is to be looked at.
type Graph struct{ nodes map[types.UID]*Node }

// NewGraph returns an empty graph.
func NewGraph() *Graph { return &Graph{nodes: map[types.UID]*Node{}} }

// Get returns a node, which is the graph's own.
func (g *Graph) Get(uid types.UID) (*Node, bool) {
	n, ok := g.nodes[uid]
	return n, ok
}

// Len is the number of nodes.
func (g *Graph) Len() int { return len(g.nodes) }

// Virtual are the objects that nobody has seen.
func (g *Graph) Virtual() (uids []types.UID) {
	for uid, n := range g.nodes {
		if n.Virtual {
			uids = append(uids, uid)
		}
	}
	return uids
}

// Dependents are the objects that name n as an owner.
func (n *Node) Dependents() []*Node { return slices.Collect(maps.Values(n.dependents)) }

// Blocking are the dependents that want n to wait for their end.
func (n *Node) Blocking() []*Node {
	return slices.DeleteFunc(n.Dependents(), func(d *Node) bool {
		return !slices.ContainsFunc(d.Owners, func(r metav1.OwnerReference) bool {
			return r.UID == n.UID && r.BlockOwnerDeletion != nil && *r.BlockOwnerDeletion
		})
	})
}

func has(o metav1.Object, finalizer string) bool {
	return slices.Contains(o.GetFinalizers(), finalizer)
}

// Put notes an object's state.
func (g *Graph) Put(kind schema.GroupKind, o metav1.Object) (look []types.UID) {
	n, known := g.nodes[o.GetUID()]
	if !known {
		n = &Node{dependents: map[types.UID]*Node{}}
		g.nodes[o.GetUID()] = n
	}
	wasVirtual := n.Virtual
	n.ID, n.Virtual = ID{kind, o.GetNamespace(), o.GetName(), o.GetUID()}, false
	if wasVirtual {
		look = n.misfits()
	}
	deleting := o.GetDeletionTimestamp() != nil
	foreground := deleting && has(o, metav1.FinalizerDeleteDependents)
	orphan := deleting && has(o, metav1.FinalizerOrphanDependents)
	if foreground && !n.Foreground {
		for uid := range n.dependents {
			look = append(look, uid)
		}
	}
	if foreground && !n.Foreground || orphan && !n.Orphan {
		look = append(look, n.UID)
	}
	n.Deleting, n.Foreground, n.Orphan = deleting, foreground, orphan
	return append(look, g.own(n, o.GetOwnerReferences())...)
}

// own draws the edges to a node's owners.
func (g *Graph) own(n *Node, owners []metav1.OwnerReference) (look []types.UID) {
	for _, r := range n.Owners {
		owner, ok := g.nodes[r.UID]
		if !ok {
			continue
		}
		if owner.Foreground {
			look = append(look, owner.UID) // it may not have to wait for n any more
		}
		delete(owner.dependents, n.UID)
	}
	was := n.Owners
	n.Owners = slices.Clone(owners)
	for _, r := range owners {
		owner, ok := g.nodes[r.UID]
		if !ok {
			owner = &Node{ID: virtualID(n, r), Virtual: true, dependents: map[types.UID]*Node{}}
			g.nodes[r.UID] = owner
			look = append(look, owner.UID)
		}
		owner.dependents[n.UID] = n
		known := slices.ContainsFunc(was, func(o metav1.OwnerReference) bool { return o.UID == r.UID })
		if !known && (owner.Foreground || owner.Orphan || !owner.fits(n, r)) {
			look = append(look, n.UID, owner.UID)
		}
	}
	for _, r := range was {
		if owner, ok := g.nodes[r.UID]; ok && owner.Virtual && len(owner.dependents) == 0 {
			delete(g.nodes, r.UID)
		}
	}
	return look
}

func virtualID(n *Node, r metav1.OwnerReference) ID {
	return ID{kindOf(r), n.Namespace, r.Name, r.UID}
}

func kindOf(r metav1.OwnerReference) schema.GroupKind {
	gv, err := schema.ParseGroupVersion(r.APIVersion)
	if err != nil {
		return schema.GroupKind{Kind: r.Kind}
	}
	return schema.GroupKind{Group: gv.Group, Kind: r.Kind}
}

// fits says whether a reference of n describes the owner as it is.
func (owner *Node) fits(n *Node, r metav1.OwnerReference) bool {
	return owner.Virtual || owner.Kind == kindOf(r) && owner.Name == r.Name && (owner.Namespace == "" || owner.Namespace == n.Namespace)
}

// misfits are the dependents that name n by other coordinates than it has: those are references to nothing.
func (n *Node) misfits() (uids []types.UID) {
	for uid, d := range n.dependents {
		if slices.ContainsFunc(d.Owners, func(r metav1.OwnerReference) bool { return r.UID == n.UID && !n.fits(d, r) }) {
			uids = append(uids, uid)
		}
	}
	return uids
}

// Remove notes that an object is gone.
func (g *Graph) Remove(uid types.UID) (look []types.UID) {
	n, ok := g.nodes[uid]
	if !ok {
		return nil
	}
	delete(g.nodes, uid)
	for _, r := range n.Owners {
		owner, ok := g.nodes[r.UID]
		if !ok {
			continue
		}
		delete(owner.dependents, uid)
		switch {
		case owner.Foreground:
			look = append(look, owner.UID)
		case owner.Virtual && len(owner.dependents) == 0:
			delete(g.nodes, owner.UID)
		}
	}
	for dependent := range n.dependents {
		look = append(look, dependent)
	}
	return look
}

// Verdict is what becomes of an object, by its owners.
type Verdict int

const (
	// Keep: an owner is there, and all others too; or it has none.
	Keep Verdict = iota
	// Trim: an owner is there, but references to others that are not must go.
	Trim
	// Unblock: it goes with an owner that waits for it, but it and its own dependents would wait for each other.
	Unblock
	// DeleteForeground: it goes with an owner that waits for it, its own dependents first.
	DeleteForeground
	// Delete: no owner is left.
	Delete
)

// State is what an owner is.
type State int

// The states of an owner.
const (
	Solid   State = iota // it is there
	Absent               // it is not there, or is another
	Waiting              // it is being deleted, once its dependents are
)

// Judge decides by the states of all owners of n; n is nil if nobody depends on the object.
func Judge(n *Node, states []State) Verdict {
	count := map[State]int{}
	for _, s := range states {
		count[s]++
	}
	switch {
	case len(states) == 0, count[Solid] == len(states):
		return Keep
	case count[Solid] > 0:
		return Trim
	case count[Waiting] > 0 && n != nil && len(n.dependents) > 0:
		for _, d := range n.dependents {
			if d.Foreground {
				return Unblock
			}
		}
		return DeleteForeground
	}
	return Delete
}
