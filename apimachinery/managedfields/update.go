package managedfields

import (
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery/structural"
)

// Update returns the managedFields of obj after a create, update or patch by the manager.
//
// obj is the JSON of the new object and live that of the old one, nil for a create; both in the version of the
// request, without metadata.managedFields, of the type t (nil: the kind has no schema; objects are then compared
// by field and lists as a whole). managed are the entries of the live object or, where the client may
// set them, the outcome of Requested. Fields in reset are not the manager's to own.
//
// Fields that the write added or modified become the manager's and nobody else's; removed ones are nobody's. The
// manager's time changes only if it gained fields. Entries without fields go, and of more than ten updaters
// the oldest are joined into "ancient-changes". An object that has no entries though it exists is
// not tracked: the result is nil, until somebody applies.
//
// The result shares memory with managed, which is not changed. The error, a *ShapeError for an
// object that doesn't fit t, leaves the caller with managed as it is: Kubernetes keeps those of the live object.
func Update(t *structural.Type, live, obj []byte, managed []metav1.ManagedFieldsEntry, by Manager, reset Set) ([]metav1.ManagedFieldsEntry, error) {
	if live != nil && len(managed) == 0 {
		return nil, nil
	}
	return update(t, live, obj, managed, by, reset)
}

// update is Update for objects that are tracked.
func update(t *structural.Type, live, obj []byte, managed []metav1.ManagedFieldsEntry, by Manager, reset Set) ([]metav1.ManagedFieldsEntry, error) {
	ws := borrow(t)
	defer ws.giveBack()
	diff, err := ws.difference(t, live, obj, reset)
	if err != nil {
		return nil, fmt.Errorf("compare objects: %w", err)
	}
	return ws.merge(t, live == nil, diff, managed, by)
}

// merge hands the changed fields to their new owner.
func (ws *workspace) merge(t *structural.Type, created bool, diff []node, managed []metav1.ManagedFieldsEntry, by Manager) ([]metav1.ManagedFieldsEntry, error) {
	if !relevant(diff) && !slices.ContainsFunc(managed, hasNoFields) && slices.IsSortedFunc(managed, compareEntries) {
		return managed, nil
	}
	entries, err := ws.decodeEntries(managed, t)
	if err != nil {
		if !created {
			return nil, nil // senseless entries count as none
		}
		entries = nil
	}
	for i := range entries {
		rest, less := subtract(entries[i].nodes, diff)
		entries[i].nodes, entries[i].dirty = rest, entries[i].dirty || less
	}
	entries = slices.DeleteFunc(entries, func(e entry) bool { return empty(e.nodes) })
	strip(diff)
	if !empty(diff) {
		entries = gain(entries, diff, by)
	}
	return ws.encodeEntries(capUpdaters(entries)), nil
}

func hasNoFields(e metav1.ManagedFieldsEntry) bool {
	return e.FieldsV1 == nil || len(e.FieldsV1.GetRawBytes()) <= len("{}")
}

// gain adds the changed fields to the manager's entry.
func gain(entries []entry, diff []node, by Manager) []entry {
	own := by.entry(metav1.ManagedFieldsOperationUpdate)
	at := slices.IndexFunc(entries, func(e entry) bool { return sameManager(&e.ManagedFieldsEntry, &own.ManagedFieldsEntry) })
	if at < 0 {
		at = len(entries)
		entries = append(entries, own)
	}
	e := &entries[at]
	e.nodes, e.dirty, e.Time = union(e.nodes, diff), true, by.timestamp()
	return entries
}

// strip takes the changed mark, in place, from what nobody owns: identity and what the server keeps.
func strip(nodes []node) {
	for i := range nodes {
		switch n := &nodes[i]; n.text {
		case "metadata":
			for j := range n.kids {
				if untracked(n.kids[j].text) {
					n.kids[j].marks &^= changed
				}
			}
			fallthrough
		case "apiVersion", "kind":
			n.marks &^= changed
		}
	}
}

// relevant reports whether anything changed that somebody may own.
func relevant(diff []node) bool {
	for i := range diff {
		switch n := &diff[i]; n.text {
		case "apiVersion", "kind":
		case "metadata":
			for j := range n.kids {
				if !untracked(n.kids[j].text) || len(n.kids[j].kids) > 0 {
					return true
				}
			}
		default:
			return true
		}
	}
	return false
}

func untracked(metadata string) bool {
	switch metadata {
	case "name", "namespace", "creationTimestamp", "selfLink", "uid", "clusterName", "generation", "managedFields", "resourceVersion":
		return true
	}
	return false
}
