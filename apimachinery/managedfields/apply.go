package managedfields

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"github.com/bedplate/bedplate/apimachinery/structural"
)

// Apply merges patch, the JSON of what the manager applies, into live, and returns the merged JSON, without
// managedFields, with the new entries. live is the JSON of the object without managedFields, nil for a create. All are
// in the version of the request and of the type t; nil: the kind has no schema.
//
// The manager owns what is in the patch and nothing else; what it applied earlier and leaves out now is removed,
// unless others own it. Fields that others own with another value are conflicts: a *ConflictError, or, with force,
// the manager's from now on. Conflicts with what was applied on the client's side, by the same
// kubectl, don't count. Where nothing changes, merged equals live and the manager's time stays as it is.
// An object that was not tracked until now gets an entry "before-first-apply" for what it has.
//
// A patch that doesn't fit t is a *PatchError; one of another version or with managedFields is an
// error of apierrors with reason BadRequest. The result shares memory with live and managed, which are not changed.
func Apply(t *structural.Type, live, patch []byte, managed []metav1.ManagedFieldsEntry, by Manager, force bool, reset Set) (merged []byte, out []metav1.ManagedFieldsEntry, err error) {
	ws := borrow(t)
	defer ws.giveBack()
	a := &application{workspace: ws, t: t, by: by, force: force, reset: reset, original: live, applied: patch}
	if t == nil {
		a.t = untyped
	}
	if err := a.readPatch(); err != nil {
		return nil, nil, err
	}
	if err := a.readLive(t); err != nil {
		return nil, nil, fmt.Errorf("live object: %w", err)
	}
	if live != nil && len(managed) == 0 {
		first := Manager{Name: beforeApply, Subresource: by.Subresource, APIVersion: by.APIVersion, Time: by.Time}
		if managed, err = update(t, nil, live, nil, first, reset); err != nil {
			return nil, nil, fmt.Errorf("account for existing fields: %w", err)
		}
	}
	entries, err := ws.decodeEntries(managed, t)
	if err != nil {
		return nil, nil, fmt.Errorf("apply: %w", err)
	}
	return a.run(entries)
}

// PatchError says that an applied configuration doesn't fit the schema of its kind.
type PatchError struct{ Err error }

// Error names the field and the reason.
func (e *PatchError) Error() string { return "applied configuration: " + e.Err.Error() }

// Unwrap returns the schema's objections.
func (e *PatchError) Unwrap() error { return e.Err }

// application is one call of Apply.
type application struct {
	*workspace
	t        *structural.Type
	by       Manager
	force    bool
	reset    Set
	original []byte // the live object; nil: none
	applied  []byte
}

// readPatch reads and checks the applied configuration.
func (a *application) readPatch() error {
	doubled, wrong, err := a.readObject(&a.patch, a.applied)
	if err == nil && doubled {
		// The last of equal names counts, as where JSON is decoded.
		var object map[string]any
		if err = utiljson.Unmarshal(a.applied, &object); err == nil {
			a.applied, err = json.Marshal(object)
		}
		if err == nil {
			_, wrong, err = a.readObject(&a.patch, a.applied)
		}
	}
	if err != nil {
		return apierrors.NewBadRequest(fmt.Sprintf("applied configuration: %v", err))
	}
	if version := a.patch.stringAt("apiVersion"); version != a.by.APIVersion {
		return apierrors.NewBadRequest(fmt.Sprintf("Incorrect version specified in apply patch. Specified patch version: %s, expected: %s", version, a.by.APIVersion))
	}
	if i := a.patch.at("metadata", "managedFields"); i != absent && a.patch.kind(i) != tokenNull {
		return apierrors.NewBadRequest("metadata.managedFields must be nil")
	}
	if len(wrong) > 0 {
		return &PatchError{wrong}
	}
	return nil
}

// readObject reads an object into d. It reports whether that has names twice, or other than in UTF-8, and
// what is wrong with its shape.
func (a *application) readObject(d *tape, raw []byte) (doubled bool, wrong shapeErrors, err error) {
	if err := d.read(raw); err != nil {
		return false, nil, err
	}
	if err := check(tokenObject, d, 0); err != nil {
		return false, nil, errors.New(err.Reason)
	}
	c := checker{d: d}
	wrong = c.value(a.t, 0)
	return c.doubled || !utf8.Valid(raw), wrong, nil
}

// readLive reads the live object, or what it is compared with before it exists.
func (a *application) readLive(t *structural.Type) error {
	raw := a.original
	if raw == nil {
		raw = []byte("{}")
		if t != nil {
			var err error
			if raw, err = t.Zero(); err != nil {
				return err
			}
		}
		a.original = raw
	}
	return a.live.read(raw)
}

// run merges the patch and brings the entries up to date.
func (a *application) run(entries []entry) (merged []byte, out []metav1.ManagedFieldsEntry, err error) {
	set, err := a.owned.fields(a.t, &a.patch, a.reset)
	if err != nil {
		return nil, nil, err
	}
	self := a.by.entry(metav1.ManagedFieldsOperationApply)
	var last entry
	if at := slices.IndexFunc(entries, func(e entry) bool { return sameManager(&e.ManagedFieldsEntry, &self.ManagedFieldsEntry) }); at >= 0 {
		last = entries[at]
		self.Time = last.Time
		entries = slices.Delete(entries, at, at+1)
	}
	self.nodes = set
	merged, changed, err := a.merge(&last, append(slices.Clip(entries), self))
	if err != nil {
		return nil, nil, err
	}
	if changed {
		self.Time = a.by.timestamp()
		if entries, err = a.takeFrom(entries, merged); err != nil {
			return nil, nil, err
		}
	}
	if merged, err = a.renewed(merged, changed); err != nil {
		return nil, nil, err
	}
	entries = slices.DeleteFunc(entries, func(e entry) bool { return empty(e.nodes) })
	if strip(set); !empty(set) {
		entries = append(entries, self)
	}
	return merged, a.encodeEntries(entries), nil
}

// merge returns the live object with the patch, without what the manager applied last and nobody owns now.
func (a *application) merge(last *entry, owners []entry) (merged []byte, changed bool, err error) {
	m := &a.merger
	m.l, m.r, m.out, m.changed = &a.live, &a.patch, make([]byte, 0, len(a.original)+len(a.applied)), false
	if err := m.merge(a.t, 0, 0); err != nil {
		return nil, false, fmt.Errorf("live object: %w", err)
	}
	merged, changed = m.out, m.changed
	m.out = nil // it is the caller's
	if !changed {
		merged = a.original
	}
	if left, _ := subtract(last.nodes, owners[len(owners)-1].nodes); !empty(left) {
		var less bool
		if merged, less, err = prune(a.t, merged, last, owners); err != nil {
			return nil, false, fmt.Errorf("apply: %w", err)
		}
		changed = changed || less
	}
	return merged, changed, nil
}

// takeFrom takes from the other managers what the merged object has otherwise than the live one. That they own
// it is a conflict, unless by force.
func (a *application) takeFrom(entries []entry, merged []byte) ([]entry, error) {
	if err := a.obj.read(merged); err != nil {
		return nil, fmt.Errorf("merged object: %w", err)
	}
	a.walker.l, a.walker.r = &a.live, &a.obj
	diff, err := a.walker.changes(a.t, a.reset)
	if err != nil {
		return nil, fmt.Errorf("compare objects: %w", err)
	}
	if !a.force {
		if err := a.conflicts(entries, diff); err != nil {
			return nil, err
		}
	}
	for i := range entries {
		rest, less := subtract(entries[i].nodes, diff)
		entries[i].nodes, entries[i].dirty = rest, entries[i].dirty || less
	}
	return entries, nil
}

// conflicts returns a *ConflictError if changed fields belong to others.
func (a *application) conflicts(entries []entry, diff []node) error {
	var list []Conflict
	var allowed []node
	asked := false
	for i := range entries {
		clash := intersect(entries[i].nodes, diff, changed)
		if !empty(clash) && a.by.Name == kubectl {
			if !asked {
				asked, allowed = true, a.ownedByClientSide()
			}
			clash, _ = subtract(clash, allowed)
		}
		for path := range (Set{clash}).All() {
			list = append(list, Conflict{Path: path, Manager: entries[i].owner()})
		}
	}
	if len(list) == 0 {
		return nil
	}
	return newConflictError(list)
}

// owner is the manager of the entry, as a conflict tells it. An applier is one manager in all versions.
func (e *entry) owner() Manager {
	m := Manager{Name: e.Manager, Subresource: e.Subresource, Apply: e.Operation == metav1.ManagedFieldsOperationApply}
	if !m.Apply {
		m.APIVersion = e.APIVersion
	}
	return m
}
