package managedfields

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/merge"
	"sigs.k8s.io/structured-merge-diff/v6/typed"

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
	a, err := newApplication(t, live, patch, by, reset)
	if err != nil {
		return nil, nil, err
	}
	if live != nil && len(managed) == 0 {
		first := Manager{Name: beforeApply, Subresource: by.Subresource, APIVersion: by.APIVersion, Time: by.Time}
		if managed, err = update(t, nil, live, nil, first, reset); err != nil {
			return nil, nil, fmt.Errorf("account for existing fields: %w", err)
		}
	}
	r, err := a.run(managed, force)
	var conflicts merge.Conflicts
	if errors.As(err, &conflicts) && by.Name == kubectl {
		r, err = a.retry(managed, conflicts)
	}
	if errors.As(err, &conflicts) {
		return nil, nil, conflictError(conflicts)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("apply: %w", err)
	}
	var ws workspace
	return r.merged, ws.encodeEntries(r.entries), nil
}

// PatchError says that an applied configuration doesn't fit the schema of its kind.
type PatchError struct{ Err error }

// Error names the field and the reason.
func (e *PatchError) Error() string { return "applied configuration: " + e.Err.Error() }

// Unwrap returns the schema's objections.
func (e *PatchError) Unwrap() error { return e.Err }

// application is one call of Apply.
type application struct {
	by          Manager
	reset       Set
	live        []byte
	patch       map[string]any
	typ         typed.ParseableType
	typedLive   *typed.TypedValue
	typedPatch  *typed.TypedValue
	self        string
	lastApplied string // the annotation of the live object
}

type result struct {
	merged  []byte
	entries []entry
}

func newApplication(t *structural.Type, live, patch []byte, by Manager, reset Set) (*application, error) {
	own := by.entry(metav1.ManagedFieldsOperationApply)
	a := &application{by: by, reset: reset, live: live, self: identity(&own.ManagedFieldsEntry)}
	if err := utiljson.Unmarshal(patch, &a.patch); err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("applied configuration: %v", err))
	}
	if err := a.checkPatch(); err != nil {
		return nil, err
	}
	var err error
	if a.typ, err = mergeType(t); err != nil {
		return nil, err
	}
	if a.typedPatch, err = a.typ.FromUnstructured(a.patch); err != nil {
		return nil, &PatchError{err}
	}
	if live == nil {
		a.live = []byte("{}")
		if t != nil {
			if a.live, err = t.Zero(); err != nil {
				return nil, err
			}
		}
	}
	var liveValue map[string]any
	if err := utiljson.Unmarshal(a.live, &liveValue); err != nil {
		return nil, fmt.Errorf("live object: %w", err)
	}
	if a.typedLive, err = a.typ.FromUnstructured(liveValue, typed.AllowDuplicates); err != nil {
		return nil, fmt.Errorf("live object: %w", err)
	}
	a.lastApplied = annotation(liveValue)
	return a, nil
}

func (a *application) checkPatch() error {
	if version, _ := a.patch["apiVersion"].(string); version != a.by.APIVersion {
		return apierrors.NewBadRequest(fmt.Sprintf("Incorrect version specified in apply patch. Specified patch version: %s, expected: %s", version, a.by.APIVersion))
	}
	metadata, _ := a.patch["metadata"].(map[string]any)
	if metadata["managedFields"] != nil {
		return apierrors.NewBadRequest("metadata.managedFields must be nil")
	}
	return nil
}

// run merges the patch.
func (a *application) run(managed []metav1.ManagedFieldsEntry, force bool) (*result, error) {
	owners, err := decodeOwners(managed)
	if err != nil {
		return nil, err
	}
	updater := merge.Updater{Converter: sameVersion{}}
	version := fieldpath.APIVersion(a.by.APIVersion)
	if !a.reset.Empty() {
		updater.IgnoreFilter = map[fieldpath.APIVersion]fieldpath.Filter{version: nil}
		if updater.IgnoreFilter, err = a.filters(version, owners.sets); err != nil {
			return nil, err
		}
	}
	newObject, sets, err := updater.Apply(a.typedLive, a.typedPatch, version, owners.sets, a.self, force)
	if err != nil {
		return nil, err
	}
	r := &result{}
	if newObject != nil {
		owners.times[a.self] = a.by.timestamp()
	}
	if r.merged, err = a.encodeMerged(newObject); err != nil {
		return nil, err
	}
	owners.sets = sets
	r.entries, err = owners.entries(a.self)
	return r, err
}

// filters keeps the reset fields out of all versions.
func (a *application) filters(version fieldpath.APIVersion, sets fieldpath.ManagedFields) (map[fieldpath.APIVersion]fieldpath.Filter, error) {
	exclude := &fieldpath.Set{}
	if err := exclude.FromJSON(bytes.NewReader(encode(nil, a.reset.nodes))); err != nil {
		return nil, fmt.Errorf("read reset fields: %w", err)
	}
	filter := fieldpath.NewExcludeSetFilter(exclude)
	out := map[fieldpath.APIVersion]fieldpath.Filter{version: filter}
	for _, s := range sets {
		out[s.APIVersion()] = filter
	}
	return out, nil
}

// encodeMerged returns the merged object, which is nil if it equals the live one.
func (a *application) encodeMerged(object *typed.TypedValue) ([]byte, error) {
	same := object == nil
	if same {
		object = a.typedLive
	}
	merged, ok := object.AsValue().Unstructured().(map[string]any)
	if !ok {
		return nil, errors.New("the merged object is empty")
	}
	if a.by.Name == kubectl && annotation(merged) != "" {
		if err := a.renewLastApplied(merged); err != nil {
			return nil, err
		}
		same = same && annotation(merged) == a.lastApplied
	}
	if same {
		return a.live, nil
	}
	raw, err := json.Marshal(merged)
	if err != nil {
		return nil, fmt.Errorf("encode merged object: %w", err)
	}
	return raw, nil
}

// sameVersion converts nothing: paths of all versions are compared as they are.
type sameVersion struct{}

func (sameVersion) Convert(object *typed.TypedValue, _ fieldpath.APIVersion) (*typed.TypedValue, error) {
	return object, nil
}

func (sameVersion) IsMissingVersionError(error) bool { return false }

// owners are the managers of an object as structured-merge-diff wants them, by identity.
type owners struct {
	sets  fieldpath.ManagedFields
	times map[string]*metav1.Time
}

func decodeOwners(managed []metav1.ManagedFieldsEntry) (*owners, error) {
	o := &owners{fieldpath.ManagedFields{}, map[string]*metav1.Time{}}
	for i := range managed {
		e := &managed[i]
		if err := checkEntry(e); err != nil {
			return nil, fmt.Errorf("managedFields[%d]: %w", i, err)
		}
		set := &fieldpath.Set{}
		if e.FieldsV1 != nil {
			if err := set.FromJSON(e.FieldsV1.GetRawReader()); err != nil {
				return nil, fmt.Errorf("managedFields[%d]: %w", i, err)
			}
		}
		id := identity(e)
		o.sets[id] = fieldpath.NewVersionedSet(set, fieldpath.APIVersion(e.APIVersion), e.Operation == metav1.ManagedFieldsOperationApply)
		o.times[id] = e.Time
	}
	return o, nil
}

// entries converts back. What nobody owns is taken from the entry of self.
func (o *owners) entries(self string) ([]entry, error) {
	var out []entry
	for id, set := range o.sets {
		e := entry{dirty: true}
		if err := json.Unmarshal([]byte(id), &e.ManagedFieldsEntry); err != nil {
			return nil, fmt.Errorf("read manager identity: %w", err)
		}
		raw, err := set.Set().ToJSON()
		if err != nil {
			return nil, fmt.Errorf("encode fields of %s: %w", id, err)
		}
		if e.nodes, _, err = new(fieldsReader).decode(metav1.NewFieldsV1(string(raw)), nil); err != nil {
			return nil, err
		}
		if id == self {
			strip(e.nodes)
		}
		if id == self && empty(e.nodes) {
			continue
		}
		e.APIVersion, e.FieldsType, e.Time = string(set.APIVersion()), fieldsType, o.times[id]
		out = append(out, e)
	}
	return out, nil
}

// conflictError converts the conflicts of structured-merge-diff.
func conflictError(conflicts merge.Conflicts) error {
	out := make([]Conflict, 0, len(conflicts))
	for _, c := range conflicts {
		var e metav1.ManagedFieldsEntry
		if err := json.Unmarshal([]byte(c.Manager), &e); err != nil {
			return fmt.Errorf("read manager identity: %w", err)
		}
		out = append(out, Conflict{Path: c.Path.String(), Manager: Manager{
			Name: e.Manager, Subresource: e.Subresource, APIVersion: e.APIVersion,
			Apply: e.Operation == metav1.ManagedFieldsOperationApply}})
	}
	return newConflictError(out)
}
