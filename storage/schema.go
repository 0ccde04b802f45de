package storage

import "slices"

// Schema is what a table knows of its objects. Storage calls the hooks and interprets nothing. The hooks
// may be called concurrently, must not modify or keep raw beyond the result, and must not call the DB.
type Schema struct {
	// Prefix is the absolute key prefix of the table, ending in "/", such as "/registry/pods/".
	Prefix string
	// Indexes are the names of the declared indexes, in the order of Head.Index. Every label is an index, too.
	//
	// An index costs nothing until somebody asks for it (Filter.IndexIs, Filter.LabelIs, Snapshot.ByIndex). Then it
	// is made, which takes about 0.3 µs for each object of the table, while changes wait and readers don't; from
	// then on each change of an object that has a value in it takes about 1 µs more. Of labels a table keeps 32
	// indexes. When one more is asked for, the least recently used gives way to it, unless it was used within the
	// last 256 times that anybody asked for a label; then lists by the other label look at every object.
	Indexes []string
	// Head reads the head of a stored object: once per object and revision. An error marks the object as
	// corrupt. Nil: every object has an empty head.
	Head func(raw []byte) (Head, error)
	// Rewrite returns the object in another encoding: decode, convert, default, prune, encode. Storage
	// does not call it yet on its own; Table.Rewrite memoises it. Nil: there is one encoding alone.
	Rewrite func(raw []byte, to uint32) ([]byte, error)
}

// Head is all that filters, indexes and the server need to know of an object without decoding it.
type Head struct {
	Encoding uint32   // stored version and schema generation; forms compare against it
	RevAt    int      // the offset in Raw at which the revision goes when the object is served
	UID      string   // identity beyond the name
	Labels   []Pair   // sorted by key; strings interned by the hook
	Index    []string // one value per declared index; missing ones count as ""

	schema *Schema // set by the table: it has the names of Index
}

// Pair is a label, or the name of a declared index with a value.
type Pair struct{ Key, Value string }

// Filter selects objects by key and head alone; all that it says must hold. The zero Filter selects everything.
// The functions may be called concurrently and must depend on their argument alone; nobody may modify the slices
// while the filter is in use.
//
// Key, LabelIs, IndexIs and Prefix are what the table can look up. Snapshot.All reads the index in which the
// fewest objects have the value asked for, instead of the whole table. A Watcher sleeps until something happens to
// the key, to the value of the first pair of IndexIs, else of LabelIs, or else under the first segment of a Prefix
// that has a "/": changes of other objects cost it nothing, however many there are. So the rarest pair goes first.
// What else a selector asks for goes into the functions. Whoever brings changes into the table asks them for every
// watcher that waits, so they must be quick and must not use the DB.
type Filter struct {
	Key     string              // the one object with this key, relative to the table; "": any
	Prefix  string              // keys, relative to the table, that begin with it
	LabelIs []Pair              // labels that the object has, with just these values
	IndexIs []Pair              // values of declared indexes, by name; no object has a value of another name
	Labels  func([]Pair) bool   // nil: all
	Index   func([]string) bool // nil: all; gets Head.Index

	// Bookmarks asks a Watcher to tell of progress too: an Event with neither Old nor New whenever the
	// revision moved on without an event for this watcher. It wakes the watcher with every revision of the
	// DB; who wants bookmarks now and then asks Watcher.Rev instead. Snapshots ignore it.
	Bookmarks bool
}

// Match tells whether the filter selects the entry, which is a table's. A corrupt entry is never selected.
func (f *Filter) Match(e *Entry) bool {
	return e != nil && e.corrupt == nil && f.matchKey(e.Key) && f.matchHead(&e.Head)
}

func (f *Filter) matchKey(key string) bool {
	return hasPrefix(key, f.Prefix) && (f.Key == "" || f.Key == key)
}

func (f *Filter) matchHead(h *Head) bool {
	for i := range f.IndexIs {
		if v, ok := h.indexed(f.IndexIs[i].Key); !ok || v != f.IndexIs[i].Value {
			return false
		}
	}
	for i := range f.LabelIs {
		if v, ok := h.label(f.LabelIs[i].Key); !ok || v != f.LabelIs[i].Value {
			return false
		}
	}
	return (f.Labels == nil || f.Labels(h.Labels)) && (f.Index == nil || f.Index(h.Index))
}

func (f *Filter) all() bool {
	return f.Key == "" && f.Prefix == "" && len(f.LabelIs) == 0 && len(f.IndexIs) == 0 && f.Labels == nil && f.Index == nil
}

// label returns the value of a label; false if there is none.
func (h *Head) label(key string) (string, bool) {
	for i := range h.Labels {
		if h.Labels[i].Key == key {
			return h.Labels[i].Value, true
		}
	}
	return "", false
}

// indexed returns the value of a declared index; false if it is not declared.
func (h *Head) indexed(name string) (string, bool) {
	if h.schema == nil {
		return "", false
	}
	at := slices.Index(h.schema.Indexes, name)
	return h.indexAt(at), at >= 0
}

func (h *Head) indexAt(at int) string {
	if at >= 0 && at < len(h.Index) {
		return h.Index[at]
	}
	return ""
}

func hasPrefix(s, prefix string) bool {
	return len(s) >= len(prefix) && s[:len(prefix)] == prefix
}

// Event is one change of one object, as one watcher sees it. Shared and immutable.
//
// Old nil: added, or moved into the watcher's filter. New nil: deleted, or moved out of the filter, or Corrupt; Old is
// then what was there before and Rev the revision of the change. Both nil: a bookmark, everything up to and
// including Rev has been handed out.
//
// Corrupt, where not nil, says that the object is still there and cannot be read any more: New is nil then. An object
// that nobody could ever read makes no event.
type Event struct {
	Old, New *Entry
	Rev      int64
	Corrupt  *CorruptError
}

// Write is one write of a commit, and conditions that go with it.
type Write struct {
	Table *Table // nil: Key is absolute (fences, guards)
	Key   string // relative to the table; "" writes nothing, for conditions alone
	Value []byte // nil: delete; storage owns it from then on, do not modify it
	At    int64  // the expected revision; 0: must not exist; -1 (AnyRev): whatever
	If    []Cond // further conditions, on any absolute keys
	Made  *Made  // what the writer knows of Value already; nil: nothing
	Lease int64  // the lease that the key goes with (DB.Grant); 0: none; -1 (KeepLease): the one it has
}

// AnyRev as Write.At makes a write unconditional.
const AnyRev int64 = -1
