package cel

import (
	"encoding/json"
	"maps"
	"slices"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// node is a schema as rules need it. It is shared and never changed once built.
type node struct {
	kind, format                              string
	nullable, intOrString, preserve, embedded bool
	defaulted                                 bool
	listType                                  string
	listKeys                                  []string
	items                                     *node
	// props is nil if no property is declared. It has the names of the schema, not escaped.
	props      map[string]*node
	additional *node
	required   []string
	// maxLength, maxItems and maxProperties are -1 if there is no bound, longest if there is no enum.
	maxLength, maxItems, maxProperties, longest int64
	rules                                       []apiextensionsv1.ValidationRule
	// object is this node with type and object metadata, which rules see at the root of a resource and of an embedded
	// one; else it is the node itself.
	object *node
}

// newNode reads a schema; root says that it is that of a whole resource.
func newNode(s *apiextensionsv1.JSONSchemaProps, root bool) *node {
	n := &node{
		kind: s.Type, format: s.Format, nullable: s.Nullable, intOrString: s.XIntOrString, embedded: s.XEmbeddedResource,
		preserve:  s.XPreserveUnknownFields != nil && *s.XPreserveUnknownFields,
		defaulted: s.Default != nil && len(s.Default.Raw) > 0 && string(s.Default.Raw) != "null",
		listKeys:  s.XListMapKeys, required: s.Required, rules: s.XValidations,
		maxLength: bound(s.MaxLength), maxItems: bound(s.MaxItems), maxProperties: bound(s.MaxProperties),
		longest: longest(s.Enum),
	}
	if s.XListType != nil {
		n.listType = *s.XListType
	}
	if s.Items != nil && s.Items.Schema != nil {
		n.items = newNode(s.Items.Schema, false)
	}
	if a := s.AdditionalProperties; a != nil && a.Schema != nil {
		n.additional = newNode(a.Schema, false)
	}
	if len(s.Properties) > 0 {
		n.props = make(map[string]*node, len(s.Properties))
		for name := range s.Properties {
			p := s.Properties[name]
			n.props[name] = newNode(&p, false)
		}
	}
	n.object = n
	if root || n.embedded {
		n.object = withMeta(n)
	}
	return n
}

func bound(p *int64) int64 {
	if p == nil {
		return -1
	}
	return max(*p, 0)
}

// longest is the length of the longest text of an enum, -1 without one.
func longest(enum []apiextensionsv1.JSON) int64 {
	if len(enum) == 0 {
		return -1
	}
	var most int64
	for _, e := range enum {
		var s string
		if json.Unmarshal(e.Raw, &s) == nil {
			most = max(most, int64(len(s)))
		}
	}
	return most
}

// withMeta adds kind, apiVersion, metadata.name and metadata.generateName, all that rules see of a resource's head.
func withMeta(n *node) *node {
	is := func(n *node, kind string) bool { return n != nil && n.kind == kind }
	meta := n.props["metadata"]
	if is(n.props["kind"], "string") && is(n.props["apiVersion"], "string") && is(meta, "object") &&
		is(meta.props["name"], "string") && is(meta.props["generateName"], "string") {
		return n
	}
	text := func(longest int64, declared *node) *node {
		if declared != nil && declared.maxLength >= 0 {
			longest = min(longest, declared.maxLength)
		}
		return alone(&node{kind: "string", maxLength: longest, maxItems: -1, maxProperties: -1, longest: -1})
	}
	var own map[string]*node
	if meta != nil {
		own = meta.props
	}
	with := *n
	with.props = maps.Clone(n.props)
	if with.props == nil {
		with.props = map[string]*node{}
	}
	with.props["kind"], with.props["apiVersion"] = text(-1, nil), text(-1, nil)
	with.props["metadata"] = alone(&node{
		kind: "object", maxLength: -1, maxItems: -1, maxProperties: -1, longest: -1,
		props: map[string]*node{"name": text(maxName, own["name"]), "generateName": text(maxName-1, own["generateName"])},
	})
	return alone(&with)
}

func alone(n *node) *node {
	n.object = n
	return n
}

// hasRules says whether a schema has a rule where Kubernetes looks for them: along properties, items and values.
func hasRules(s *apiextensionsv1.JSONSchemaProps) bool {
	if s == nil {
		return false
	}
	if len(s.XValidations) > 0 || s.Items != nil && hasRules(s.Items.Schema) ||
		s.AdditionalProperties != nil && hasRules(s.AdditionalProperties.Schema) {
		return true
	}
	for name := range s.Properties {
		p := s.Properties[name]
		if hasRules(&p) {
			return true
		}
	}
	return false
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
