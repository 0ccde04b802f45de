package jsonschema

import "k8s.io/apimachinery/pkg/runtime"

// Default sets what is absent and has a default, in place, and replaces nulls that are not nullable and have one.
// Defaults apply from the outside in: one below an object that is absent and has no default doesn't apply.
func (s *Schema) Default(o map[string]any) {
	if s != nil {
		setDefaults(o, s.root)
	}
}

func setDefaults(v any, n *node) {
	if n == nil || !n.marks.has(anyDefault) {
		return
	}
	switch v := v.(type) {
	case map[string]any:
		for i := range n.props {
			p := &n.props[i]
			if p.node.fallback == nil {
				continue
			}
			if old, ok := v[p.name]; !ok || old == nil && p.node.refusesNull() {
				v[p.name] = runtime.DeepCopyJSONValue(p.node.fallback)
			}
		}
		for name, m := range v {
			child, ok := n.property(name)
			if !ok {
				child = n.extra
				if m == nil && child.refusesNull() {
					m = runtime.DeepCopyJSONValue(child.fallback)
					v[name] = m
				}
			}
			setDefaults(m, child)
		}
	case []any:
		for i, item := range v {
			if item == nil && n.items.refusesNull() {
				item = runtime.DeepCopyJSONValue(n.items.fallback)
				v[i] = item
			}
			setDefaults(item, n.items)
		}
	}
}
