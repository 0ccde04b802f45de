package pods

import (
	"strconv"

	"github.com/bedplate/bedplate/scheduling"
	corev1 "k8s.io/api/core/v1"
)

// Labels keeps the labels and names of nodes, one column for each key with the
// values as small numbers, so that a selector is a comparison of integers.
type Labels struct {
	keys  map[string]*labelColumn
	of    scheduling.Column[map[string]string]
	name  scheduling.Column[string]
	names map[string]int
}

var _ scheduling.Columns[*corev1.Pod, corev1.Node] = (*Labels)(nil)

// labelColumn is one key on all nodes.
type labelColumn struct {
	value scheduling.Column[uint32] // 0: the node hasn't the key
	ids   map[string]uint32
	texts []string // by id
	nodes []int    // by id: how many have it
	free  []uint32
}

// NewLabels returns empty columns.
func NewLabels() *Labels {
	return &Labels{keys: map[string]*labelColumn{}, names: map[string]int{}}
}

// Host takes a node's labels and name over.
func (l *Labels) Host(n int, node *corev1.Node) {
	var labels map[string]string
	delete(l.names, l.name.Get(n))
	*l.name.At(n) = ""
	if node != nil {
		labels = node.Labels
		*l.name.At(n) = node.Name
		l.names[node.Name] = n
	}
	old := l.of.At(n)
	for key := range *old {
		if _, still := labels[key]; !still {
			l.unset(key, n)
		}
	}
	for key, value := range labels {
		l.set(key, n, value)
	}
	*old = labels
}

// Placed is nothing to labels.
func (l *Labels) Placed(int, *corev1.Pod, int) {}

func (l *Labels) set(key string, n int, value string) {
	c := l.keys[key]
	if c == nil {
		c = &labelColumn{ids: map[string]uint32{}, texts: []string{""}, nodes: []int{0}}
		l.keys[key] = c
	}
	was := *c.value.At(n)
	id := c.id(value)
	c.nodes[id]++
	c.value[n] = id
	c.drop(was)
}

func (l *Labels) unset(key string, n int) {
	c := l.keys[key]
	was := c.value[n]
	c.value[n] = 0
	c.drop(was)
	if len(c.ids) == 0 {
		delete(l.keys, key)
	}
}

// id numbers a value; numbers of values that no node has any more are reused.
func (c *labelColumn) id(value string) uint32 {
	if id, ok := c.ids[value]; ok {
		return id
	}
	id := uint32(len(c.texts))
	if last := len(c.free) - 1; last >= 0 {
		id, c.free = c.free[last], c.free[:last]
		c.texts[id] = value
	} else {
		c.texts, c.nodes = append(c.texts, value), append(c.nodes, 0)
	}
	c.ids[value] = id
	return id
}

func (c *labelColumn) drop(id uint32) {
	if id == 0 {
		return
	}
	if c.nodes[id]--; c.nodes[id] == 0 {
		delete(c.ids, c.texts[id])
		c.texts[id] = ""
		c.free = append(c.free, id)
	}
}

// keepTerm keeps the nodes that a term selects: those that satisfy all of its
// requirements. A term without any selects none.
func (l *Labels) keepTerm(term *corev1.NodeSelectorTerm, h hosts) {
	if len(term.MatchExpressions)+len(term.MatchFields) == 0 {
		h.Clear()
		return
	}
	for i := range term.MatchFields {
		l.keepField(&term.MatchFields[i], h)
	}
	for i := range term.MatchExpressions {
		l.keep(&term.MatchExpressions[i], h)
	}
}

// keepField keeps the nodes that satisfy a requirement on metadata.name, the only
// field there is.
func (l *Labels) keepField(r *corev1.NodeSelectorRequirement, h hosts) {
	if r.Key != "metadata.name" || len(r.Values) != 1 {
		h.Clear()
		return
	}
	n, known := l.names[r.Values[0]]
	switch {
	case r.Operator == corev1.NodeSelectorOpNotIn:
		if known {
			h.Remove(n)
		}
	case r.Operator == corev1.NodeSelectorOpIn && known && h.Has(n):
		h.Clear()
		h.Add(n)
	default:
		h.Clear()
	}
}

// keep keeps the nodes that satisfy a requirement; none, if it makes no sense.
func (l *Labels) keep(r *corev1.NodeSelectorRequirement, h hosts) {
	c := l.keys[r.Key]
	if c == nil {
		if r.Operator != corev1.NodeSelectorOpNotIn && r.Operator != corev1.NodeSelectorOpDoesNotExist {
			h.Clear()
		}
		return
	}
	good := c.satisfying(r)
	for n := range h.All() {
		if id := c.value.Get(n); !good[id] {
			h.Remove(n)
		}
	}
}

// satisfying says of each value whether it satisfies a requirement; of value 0,
// whether a node without the key does.
func (c *labelColumn) satisfying(r *corev1.NodeSelectorRequirement) []bool {
	good := make([]bool, len(c.texts))
	switch r.Operator {
	case corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn:
		not := r.Operator == corev1.NodeSelectorOpNotIn
		for i := range good {
			good[i] = not
		}
		for _, v := range r.Values {
			if id, ok := c.ids[v]; ok {
				good[id] = !not
			}
		}
	case corev1.NodeSelectorOpExists, corev1.NodeSelectorOpDoesNotExist:
		for i := range good {
			good[i] = (i == 0) == (r.Operator == corev1.NodeSelectorOpDoesNotExist)
		}
	case corev1.NodeSelectorOpGt, corev1.NodeSelectorOpLt:
		c.comparing(r, good)
	}
	return good
}

// comparing fills good for an operator that takes values for integers.
func (c *labelColumn) comparing(r *corev1.NodeSelectorRequirement, good []bool) {
	if len(r.Values) != 1 {
		return
	}
	bound, err := strconv.ParseInt(r.Values[0], 10, 64)
	if err != nil {
		return
	}
	for text, id := range c.ids {
		if v, err := strconv.ParseInt(text, 10, 64); err == nil {
			good[id] = r.Operator == corev1.NodeSelectorOpGt && v > bound || r.Operator == corev1.NodeSelectorOpLt && v < bound
		}
	}
}
