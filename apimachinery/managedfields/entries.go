package managedfields

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery/structural"
)

const (
	maxUpdaters    = 10                   // entries of updates; the oldest beyond are joined
	ancientChanges = "ancient-changes"    // the manager of joined entries
	beforeApply    = "before-first-apply" // owns what was there before anybody was asked
	fieldsType     = "FieldsV1"
)

// Manager says who writes, and through which door.
type Manager struct {
	Name        string    // the field manager; "" is "unknown"
	Subresource string    // "status", "scale", …; "" is the object itself
	APIVersion  string    // of the request: "v1", "apps/v1"
	Time        time.Time // of the request; entries keep whole seconds
	Apply       bool      // whether the manager applied; Update and Apply say so themselves
}

// entry is a managedFields entry while its set is being worked on.
type entry struct {
	metav1.ManagedFieldsEntry
	nodes []node
	dirty bool // FieldsV1 doesn't hold nodes
}

func (m Manager) entry(operation metav1.ManagedFieldsOperationType) entry {
	return entry{ManagedFieldsEntry: metav1.ManagedFieldsEntry{
		Manager: cmp.Or(m.Name, "unknown"), Operation: operation, APIVersion: m.APIVersion,
		Subresource: m.Subresource, FieldsType: fieldsType,
	}, dirty: true}
}

func (m Manager) timestamp() *metav1.Time {
	return &metav1.Time{Time: time.Unix(m.Time.Unix(), 0)}
}

// sameManager reports whether two entries belong to the same manager. An applier is one manager in all versions.
func sameManager(a, b *metav1.ManagedFieldsEntry) bool {
	return a.Manager == b.Manager && a.Operation == b.Operation && a.Subresource == b.Subresource &&
		(a.APIVersion == b.APIVersion || a.Operation == metav1.ManagedFieldsOperationApply)
}

// identity is the text by which Kubernetes tells managers apart, and sorts them.
func identity(e *metav1.ManagedFieldsEntry) string {
	id := metav1.ManagedFieldsEntry{Manager: e.Manager, Operation: e.Operation, Subresource: e.Subresource}
	if e.Operation != metav1.ManagedFieldsOperationApply {
		id.APIVersion = e.APIVersion
	}
	text, err := json.Marshal(id)
	if err != nil {
		return e.Manager // not reached: the struct holds strings alone
	}
	return string(text)
}

// decodeEntries reads the entries; of several of one manager the last counts.
func (ws *workspace) decodeEntries(managed []metav1.ManagedFieldsEntry, t *structural.Type) ([]entry, error) {
	out := make([]entry, 0, len(managed)+1)
	for i := range managed {
		if err := checkEntry(&managed[i]); err != nil {
			return nil, fmt.Errorf("managedFields[%d]: %w", i, err)
		}
		nodes, same, err := ws.decode(managed[i].FieldsV1, t)
		if err != nil {
			return nil, fmt.Errorf("managedFields[%d]: %w", i, err)
		}
		e := entry{ManagedFieldsEntry: managed[i], nodes: nodes, dirty: !same}
		if at := slices.IndexFunc(out, func(o entry) bool { return sameManager(&o.ManagedFieldsEntry, &managed[i]) }); at >= 0 {
			out[at] = e
			continue
		}
		out = append(out, e)
	}
	return out, nil
}

func checkEntry(e *metav1.ManagedFieldsEntry) error {
	switch {
	case e.Operation != metav1.ManagedFieldsOperationApply && e.Operation != metav1.ManagedFieldsOperationUpdate:
		return errors.New("operation must be `Apply` or `Update`")
	case e.APIVersion == "":
		return errors.New("apiVersion must not be empty")
	case e.FieldsType == "":
		return errors.New("fieldsType must be set")
	case e.FieldsType != fieldsType:
		return fmt.Errorf("fieldsType %q is not known", e.FieldsType)
	}
	return nil
}

// encodeEntries writes the entries in Kubernetes' order.
func (ws *workspace) encodeEntries(entries []entry) []metav1.ManagedFieldsEntry {
	if len(entries) == 0 {
		return nil
	}
	out := make([]metav1.ManagedFieldsEntry, 0, len(entries))
	for i := range entries {
		e := &entries[i]
		if e.dirty {
			e.FieldsV1 = ws.encode(e.nodes)
		}
		out = append(out, e.ManagedFieldsEntry)
	}
	slices.SortFunc(out, compareEntries)
	return out
}

func compareEntries(a, b metav1.ManagedFieldsEntry) int {
	return cmp.Or(
		strings.Compare(string(a.Operation), string(b.Operation)),
		cmp.Compare(seconds(a.Time), seconds(b.Time)),
		strings.Compare(a.Manager, b.Manager),
		strings.Compare(a.APIVersion, b.APIVersion),
		strings.Compare(a.Subresource, b.Subresource),
	)
}

func seconds(t *metav1.Time) int64 {
	if t == nil {
		return 0
	}
	return t.Unix()
}

// capUpdaters joins the oldest entries of updates, by version, until there are no more than maxUpdaters.
func capUpdaters(entries []entry) []entry {
	var updaters []*entry
	for i := range entries {
		if entries[i].Operation == metav1.ManagedFieldsOperationUpdate {
			updaters = append(updaters, &entries[i])
		}
	}
	excess := len(updaters) - maxUpdaters
	if excess <= 0 {
		return entries
	}
	slices.SortFunc(updaters, func(a, b *entry) int {
		return cmp.Or(cmp.Compare(seconds(a.Time), seconds(b.Time)),
			strings.Compare(identity(&a.ManagedFieldsEntry), identity(&b.ManagedFieldsEntry)))
	})
	buckets := map[string]*entry{} // by version
	drop := map[*entry]bool{}
	for _, e := range updaters {
		if excess == 0 {
			break
		}
		bucket, ok := buckets[e.APIVersion]
		if !ok {
			buckets[e.APIVersion] = e
			continue
		}
		bucket = asBucket(entries, bucket, drop)
		buckets[e.APIVersion] = bucket
		if bucket == e { // the bucket of an earlier time, reached in its turn
			continue
		}
		bucket.nodes, bucket.dirty, bucket.Time = union(e.nodes, bucket.nodes), true, e.Time
		drop[e] = true
		excess--
	}
	var out []entry
	for i := range entries {
		if !drop[&entries[i]] {
			out = append(out, entries[i])
		}
	}
	return out
}

// asBucket returns the bucket that e's fields are in from now on: the one that exists already, or e under its name.
func asBucket(entries []entry, e *entry, drop map[*entry]bool) *entry {
	if e.Manager == ancientChanges && e.Subresource == "" {
		return e
	}
	for i := range entries {
		o := &entries[i]
		if !drop[o] && o.Operation == metav1.ManagedFieldsOperationUpdate && o.Manager == ancientChanges &&
			o.APIVersion == e.APIVersion && o.Subresource == "" {
			return o
		}
	}
	e.Manager, e.Subresource = ancientChanges, ""
	return e
}

// Requested returns the entries that an update starts from: those that the client sent, in canonical form, or
// those of the live object where it sent none or senseless ones. A client that sends an empty list, or a list
// of one empty entry, wants them gone: then it is none. What comes through a subresource never counts.
// For an object that is being created, live is nil.
func Requested(sent, live []metav1.ManagedFieldsEntry, subresource string) []metav1.ManagedFieldsEntry {
	if subresource != "" || sent == nil {
		return live
	}
	if len(sent) == 0 || len(sent) == 1 && reflect.DeepEqual(sent[0], metav1.ManagedFieldsEntry{}) {
		return nil
	}
	if slices.EqualFunc(sent, live, equalEntries) {
		return live
	}
	var ws workspace
	entries, err := ws.decodeEntries(sent, nil)
	if err != nil {
		return live
	}
	for i := range entries {
		entries[i].dirty = true
	}
	return ws.encodeEntries(entries)
}

func equalEntries(a, b metav1.ManagedFieldsEntry) bool {
	return compareEntries(a, b) == 0 && a.FieldsType == b.FieldsType &&
		(a.FieldsV1 == nil) == (b.FieldsV1 == nil) && (a.FieldsV1 == nil || a.FieldsV1.Equal(*b.FieldsV1))
}

// EqualButTimes reports whether two lists of entries differ at most in times. A write that changes
// nothing else need not be stored.
func EqualButTimes(a, b []metav1.ManagedFieldsEntry) bool {
	return slices.EqualFunc(a, b, func(a, b metav1.ManagedFieldsEntry) bool {
		a.Time, b.Time = nil, nil
		return equalEntries(a, b)
	})
}
