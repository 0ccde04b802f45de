package managedfields

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Part relates the managedFields of an object to those of a subresource of another kind that is a part of it, as a
// Scale is of a Deployment. Nothing of a part is stored: its entries are made from the object's for each request, and
// the object's from what became of them.
type Part struct {
	// Fields names the part's fields, and the field of the object behind each: {"spec.replicas": "spec.replicas"}.
	Fields map[string]string
	// Version is the apiVersion of the part ("autoscaling/v1"), Of that of the object in this request.
	Version, Of string
}

// Entries returns the part's entries: those of the managers who own one of its fields in the object, in the version of
// the request.
func (p Part) Entries(managed []metav1.ManagedFieldsEntry) ([]metav1.ManagedFieldsEntry, error) {
	entries, err := new(workspace).decodeEntries(managed, nil)
	if err != nil {
		return nil, fmt.Errorf("read the owners of a part: %w", err)
	}
	var out []entry
	for _, e := range entries {
		if e.nodes = p.translate(e.nodes, false); e.APIVersion != p.Of || empty(e.nodes) {
			continue
		}
		e.APIVersion, e.dirty = p.Version, true
		out = append(out, e)
	}
	return new(workspace).encodeEntries(out), nil
}

// Merged returns the object's entries after a write of the part, whose own are after. Who owns no field of the part any
// more loses those of the object, and who owns some has them as a manager of its own, through the subresource.
func (p Part) Merged(managed, after []metav1.ManagedFieldsEntry) ([]metav1.ManagedFieldsEntry, error) {
	ws := new(workspace)
	entries, err := ws.decodeEntries(managed, nil)
	if err != nil {
		return nil, fmt.Errorf("read the owners of an object: %w", err)
	}
	parts, err := new(workspace).decodeEntries(after, nil)
	if err != nil {
		return nil, fmt.Errorf("read the owners of a part: %w", err)
	}
	all := p.behind()
	for i := range parts {
		parts[i].APIVersion, parts[i].dirty = p.Of, true
		parts[i].nodes = p.translate(parts[i].nodes, true)
	}
	for i := range entries {
		e := &entries[i]
		if e.APIVersion != p.Of {
			continue
		}
		rest, less := subtract(e.nodes, all)
		at := slices.IndexFunc(parts, func(o entry) bool { return sameManager(&o.ManagedFieldsEntry, &e.ManagedFieldsEntry) })
		if at >= 0 {
			rest, less = union(rest, parts[at].nodes), true
			e.Time = parts[at].Time
			parts = slices.Delete(parts, at, at+1)
		}
		if less {
			e.nodes, e.dirty = rest, true
		}
	}
	entries = slices.DeleteFunc(append(entries, parts...), func(e entry) bool { return empty(e.nodes) })
	return ws.encodeEntries(entries), nil
}

// behind are the object's fields that are the part's.
func (p Part) behind() []node {
	return Paths(slices.Collect(maps.Values(p.Fields))...).nodes
}

// translate returns the fields of the part among nodes, which are the object's, under the part's names; with back the
// other way round.
func (p Part) translate(nodes []node, back bool) []node {
	var out []node
	for of, behind := range p.Fields {
		from, to := behind, of
		if back {
			from, to = of, behind
		}
		if !empty(intersect(nodes, Paths(from).nodes, member)) {
			out = insert(out, strings.Split(to, "."))
		}
	}
	return out
}
