package storage

// Entry is one object at one revision. Immutable, and shared by everybody in the process: nobody may
// modify Raw or what Head refers to.
type Entry struct {
	Key          string // relative to the table's prefix
	Rev, Created int64
	Raw          []byte // exactly what is stored
	Head         Head

	corrupt *CorruptError // Head refused Raw: never served
	forms   forms
}

// Form returns the form of the entry that key names (a Go object, a version, a media type), making it if
// nobody has. Safe for concurrent use: make runs at most once per key at a time, and concurrent callers get
// its result. Errors are not kept. The form must be immutable; it is shared by all callers.
//
// An entry keeps at most 8 forms and all entries of a DB together Config.FormBytes of them; beyond that the
// ones not asked for lately are dropped and made anew when asked for. A []byte counts its length, anything
// else twice the length of Raw. Key must be comparable; use a type of your own, so that users of one
// entry don't collide.
func (e *Entry) Form(key any, make func() (any, error)) (any, error) {
	return e.forms.get(key, len(e.Raw), make)
}

// Keep puts a form that was made already into the memo of an entry that nobody else has seen yet.
func (e *Entry) Keep(key, value any) {
	m := &memo{}
	f := &form{owner: m, key: key, value: value, cost: formCost(value, len(e.Raw))}
	m.ready.Store(&[]*form{f})
	e.forms.memo.Store(m)
	if e.forms.budget != nil {
		e.forms.budget.add(f, nil)
	}
}
