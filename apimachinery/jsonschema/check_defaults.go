package jsonschema

import (
	"fmt"
	"reflect"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// checkDefaults checks that defaults are valid by their own schema, and specified by it.
func checkDefaults(root *node, path *field.Path) field.ErrorList {
	n := *root
	n.marks |= embedded | anyEmbedded
	c := defaultsChecker{}
	c.schema(&n, surroundings{}, path)
	return c.errs
}

// surroundings say how a schema lies in the metadata of a resource.
type surroundings struct {
	resource *node // the resource; nil outside of metadata
	steps    *step
}

type defaultsChecker struct{ checker }

func (c *defaultsChecker) schema(n *node, in surroundings, path *field.Path) {
	if n == nil || !n.marks.has(anyDefault) || len(c.errs) > MaxErrors {
		return
	}
	if n.marks.has(embedded) {
		in = surroundings{}
	}
	if n.fallback != nil {
		if in.resource != nil {
			c.inMeta(n, in, path.Child("default"))
		} else {
			c.plain(n, path.Child("default"))
		}
	}
	// additionalProperties are not looked at, as in Kubernetes
	next := func(s step) surroundings {
		if in.resource == nil {
			return in
		}
		s.up = in.steps
		return surroundings{in.resource, &s}
	}
	c.schema(n.items, next(step{item: true}), path.Child("items"))
	for _, p := range n.props {
		sub := next(step{name: p.name})
		if n.marks.has(embedded) && typeMeta(p.name) {
			sub = surroundings{n, &step{name: p.name}}
		}
		c.schema(p.node, sub, path.Child("properties").Key(p.name))
	}
}

// inMeta checks a default in the metadata of a resource: the resource must be valid with it.
func (c *defaultsChecker) inMeta(n *node, in surroundings, at *field.Path) {
	o, _ := in.steps.around(runtime.DeepCopyJSONValue(n.fallback)).(map[string]any)
	for name, value := range map[string]string{"kind": "Validation", "apiVersion": "validation/v1"} {
		if _, ok := o[name]; !ok {
			o[name] = value
		}
	}
	var co coercer
	if err := co.value(nil, o, in.resource); err != nil {
		c.add(field.Invalid(at, n.fallback, fmt.Sprintf("must result in valid metadata: %v", err)))
	} else if errs := embeddedResources(nil, o, in.resource); len(errs) > 0 {
		c.add(field.Invalid(at, n.fallback, fmt.Sprintf("must result in valid metadata: %v", errs.ToAggregate())))
	} else {
		c.values(n, n.fallback, at)
	}
}

func (c *defaultsChecker) plain(n *node, at *field.Path) {
	pruned := runtime.DeepCopyJSONValue(n.fallback)
	var p pruner
	p.value(pruned, n, nil)
	v := runtime.DeepCopyJSONValue(n.fallback)
	var co coercer
	coerced := co.value(at, v, n)
	if !reflect.DeepEqual(pruned, n.fallback) {
		c.add(field.Invalid(at, v, "must not have unknown fields")) // the value as metadata has it, as Kubernetes shows it
	}
	if coerced != nil {
		c.add(coerced)
	} else if errs := embeddedResources(at, v, n); len(errs) > 0 {
		for _, err := range errs {
			c.add(err)
		}
	} else {
		c.values(n, v, at)
	}
}

func (c *defaultsChecker) values(n *node, v any, at *field.Path) {
	for _, err := range (&Schema{root: n}).values(at, v, nil) {
		c.add(err)
	}
}
