package storage

import (
	"bytes"
	"sync"
)

// Made is what a writer knows of a value already. The cache takes it over when the change comes back by the watch
// with the very bytes that were written, instead of reading them again; the bytes then exist once.
type Made struct {
	// Head is what Schema.Head would return for the value.
	Head Head
	// Form, where not nil, is called once, when the entry is made, with its revision: it returns a form of the
	// entry to start its memo with (see [Entry.Form]). It must be quick and must not use the DB.
	Form func(rev int64) (key, form any)
}

// A store hands few values at a time, those of the commits that are under way; beyond these bounds it forgets.
const (
	maxHanded      = 1_024
	maxHandedBytes = 16 << 20
)

// handed are the values that were committed and have not yet come back.
type handed struct {
	mu    sync.Mutex
	byKey map[string]handedValue // absolute keys
	bytes int
}

type handedValue struct {
	value []byte
	made  *Made
}

// put notes what is about to be committed.
func (h *handed) put(key string, value []byte, made *Made) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.drop(key)
	if len(h.byKey) >= maxHanded || h.bytes+len(value) > maxHandedBytes {
		clear(h.byKey)
		h.bytes = 0
	}
	if h.byKey == nil {
		h.byKey = map[string]handedValue{}
	}
	h.byKey[key] = handedValue{value, made}
	h.bytes += len(value)
}

// forget takes back what was put and was not committed, unless a later write of the key was put since.
func (h *handed) forget(key string, made *Made) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.byKey[key].made == made {
		h.drop(key)
	}
}

// take returns what was put for a value that came back, with the bytes that were put; nil if there is nothing.
func (h *handed) take(kv KV) ([]byte, *Made) {
	h.mu.Lock()
	defer h.mu.Unlock()
	got, ok := h.byKey[kv.Key]
	if !ok || kv.Corrupt != nil || !bytes.Equal(got.value, kv.Value) {
		return nil, nil // what lies there is a later write's
	}
	h.drop(kv.Key)
	return got.value, got.made
}

func (h *handed) drop(key string) {
	h.bytes -= len(h.byKey[key].value)
	delete(h.byKey, key)
}
