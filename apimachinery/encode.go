package apimachinery

import (
	"bytes"
	"encoding/json"
	"reflect"
	"sync"
)

// encoders holds the plans of the types that were written so far, and buffers to write into. It is the only
// mutable package-level state here, and of the kind that encoding/json has: a memo of what reflection says, which
// grows with the number of Go types that the program writes, and which no caller can see or change.
var encoders encoderCache

type encoderCache struct {
	plans   sync.Map // encodeKey → *encodePlan
	making  sync.Mutex
	buffers sync.Pool // of *[]byte
}

// maxKeptBuffer bounds the buffers that are kept for the next write, in bytes.
const maxKeptBuffer = 256 << 10

// maxPlainDepth bounds the nesting that the quick walks follow. What lies deeper, or turns in a circle, is left to
// encoding/json.
const maxPlainDepth = 500

// encode returns o as JSON in memory of its own.
func (c *encoderCache) encode(o any) ([]byte, error) {
	buffer, _ := c.buffers.Get().(*[]byte)
	if buffer == nil {
		buffer = new([]byte)
	}
	written, err := c.append((*buffer)[:0], o)
	if err != nil {
		return nil, err
	}
	out := make([]byte, len(written))
	copy(out, written)
	if cap(written) <= maxKeptBuffer {
		*buffer = written
		c.buffers.Put(buffer)
	}
	return out, nil
}

// append appends o as JSON. Where the walk meets what it does not know or what is an error, encoding/json writes
// the whole, and so says what is wrong.
func (c *encoderCache) append(dst []byte, o any) ([]byte, error) {
	e := encoder{cache: c}
	if out, ok := e.untyped(dst, o, 0); ok {
		return out, nil
	}
	return appendByLibrary(dst, o)
}

func appendByLibrary(dst []byte, o any) ([]byte, error) {
	b := bytes.NewBuffer(dst)
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	if err := e.Encode(o); err != nil {
		return dst, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// plan returns the plan of a type. addressable says whether the value would have an address for encoding/json, which
// decides if methods of its pointer count.
func (c *encoderCache) plan(t reflect.Type, addressable bool) *encodePlan {
	key := encodeKey{t, addressable}
	if p, ok := c.plans.Load(key); ok {
		return p.(*encodePlan)
	}
	c.making.Lock()
	defer c.making.Unlock()
	m := planner{known: &c.plans, fresh: map[encodeKey]*encodePlan{}}
	p := m.plan(key)
	for key, p := range m.fresh {
		c.plans.Store(key, p)
	}
	return p
}
