package managedfields

import (
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery/structural"
)

// The sets of entries repeat themselves: the objects that one manager writes mostly have the same fields. So each kind
// keeps those that were read last.
const (
	keptSets      = 32       // of a kind
	largestKeptOf = 16 << 10 // bytes of FieldsV1: larger ones are read anew
)

// setCache has decoded sets by their text. They never change.
type setCache struct {
	mu   sync.Mutex
	sets map[string]decodedSet
}

// decodedSet is what decoding gave: the nodes, and whether their encoding is the text that they were read from.
type decodedSet struct {
	nodes []node
	same  bool
}

type setsKey struct{}

func setsOf(t *structural.Type) *setCache {
	c, _ := t.Derived(setsKey{}, func(*structural.Type) (any, error) { return &setCache{sets: map[string]decodedSet{}}, nil })
	return c.(*setCache)
}

func (c *setCache) decode(f *metav1.FieldsV1, t *structural.Type) (nodes []node, same bool, err error) {
	text := f.GetRawString()
	c.mu.Lock()
	s, ok := c.sets[text]
	c.mu.Unlock()
	if ok {
		return s.nodes, s.same, nil
	}
	if nodes, same, err = new(fieldsReader).decode(f, t); err != nil {
		return nil, false, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for old := range c.sets {
		if len(c.sets) < keptSets {
			break
		}
		delete(c.sets, old)
	}
	c.sets[text] = decodedSet{nodes, same}
	return nodes, same, nil
}
