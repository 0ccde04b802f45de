package storage

// Schema is what a table knows of its objects. Storage calls the hooks and interprets nothing. The hooks
// may be called concurrently, must not modify or keep raw beyond the result, and must not call the DB.
type Schema struct {
	// Prefix is the absolute key prefix of the table, ending in "/", such as "/registry/pods/".
	Prefix string
	// Indexes are the names of the declared indexes, in the order of Head.Index. One costs nothing until somebody
	// asks for it (Snapshot.ByIndex). Then it is made, which takes about 0.3 µs for each object of the table, while
	// changes wait and readers don't; from then on each change keeps it up to date.
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
}

// Pair is a label.
type Pair struct{ Key, Value string }

// Filter selects objects by key and head alone. The zero Filter selects everything. The functions may be
// called concurrently and must depend on their argument alone.
type Filter struct {
	Prefix string              // keys, relative to the table, that begin with it
	Labels func([]Pair) bool   // nil: all
	Index  func([]string) bool // nil: all; gets Head.Index

	// Bookmarks asks a Watcher to tell of progress too: an Event with neither Old nor New whenever the
	// revision moved on without an event for this watcher. It wakes the watcher with every revision of the
	// DB; who wants bookmarks now and then asks Watcher.Rev instead. Snapshots ignore it.
	Bookmarks bool
}

// Match tells whether the filter selects the entry. A corrupt entry is never selected.
func (f *Filter) Match(e *Entry) bool {
	return e != nil && e.corrupt == nil && hasPrefix(e.Key, f.Prefix) && f.matchHead(&e.Head)
}

func (f *Filter) matchHead(h *Head) bool {
	return (f.Labels == nil || f.Labels(h.Labels)) && (f.Index == nil || f.Index(h.Index))
}

func (f *Filter) all() bool { return f.Prefix == "" && f.Labels == nil && f.Index == nil }

func hasPrefix(s, prefix string) bool {
	return len(s) >= len(prefix) && s[:len(prefix)] == prefix
}

// Event is one change of one object, as one watcher sees it. Shared and immutable.
//
// Old nil: added, or moved into the watcher's filter. New nil: deleted, or moved out of the filter; Old is
// then what was there before and Rev the revision of the change. Both nil: a bookmark, everything up to and
// including Rev has been handed out.
type Event struct {
	Old, New *Entry
	Rev      int64
}

// Write is one write of a commit, and conditions that go with it.
type Write struct {
	Table *Table // nil: Key is absolute (fences, guards)
	Key   string // relative to the table; "" writes nothing, for conditions alone
	Value []byte // nil: delete; storage owns it from then on, do not modify it
	At    int64  // the expected revision; 0: must not exist; -1 (AnyRev): whatever
	If    []Cond // further conditions, on any absolute keys
	Made  *Made  // what the writer knows of Value already; nil: nothing
}

// AnyRev as Write.At makes a write unconditional.
const AnyRev int64 = -1
