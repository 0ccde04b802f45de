package define

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
)

// Kind declares a kind. Group and Object are needed, and Kind where Object is an apimachinery.Typed.
type Kind struct {
	// Group is the API group, "demo.example.com"; Version that in which objects are stored, "v1" by default.
	Group, Version string
	// Kind is by default the name of the Go type. Plural and Singular are by default made of it, as English has it.
	Kind, Plural, Singular string
	// Object is an empty object of the Go type.
	Object apimachinery.Object
	// Short names and categories for kubectl.
	Short, Category []string
	// Cluster says that objects are in no namespace.
	Cluster bool

	// Columns are those of kubectl get between name and age, in place of those that fields declare by the tag column: see
	// [Column].
	Columns []apimachinery.Column
	// Fields are what field selectors may name, as paths: "spec.engine".
	Fields []string
	// Scale gives the kind a scale subresource, for kubectl scale and autoscalers.
	Scale *apimachinery.ScalePaths
	// Versions are others in which the kind is served.
	Versions []Version

	// Default, Validate and Warnings come after what tags and the methods of the Spec do. old is nil on create.
	Default  func(apimachinery.Object)
	Validate func(ctx context.Context, new, old apimachinery.Object) field.ErrorList
	Warnings func(new, old apimachinery.Object) []string
}

// Version is a further version of a kind. See [As] and [Convertible].
type Version struct {
	Version string
	// Object is an empty object of this version's Go type, which no other version has.
	Object apimachinery.Object
	// ToHub and FromHub convert this version's objects to those of Kind.Object, and back, and lose nothing. They must
	// not change what they are given.
	ToHub, FromHub func(apimachinery.Object) (apimachinery.Object, error)
	// Columns are those of this version, as in Kind.
	Columns []apimachinery.Column
	// Unserved keeps a version for objects that are stored in it. Deprecated is what its users are warned of.
	Unserved   bool
	Deprecated string
}

// Resource is what servers and clients are given. What is wrong with the declaration, with a tag say, is in its Fault,
// and a registry refuses it.
//
// Objects have a status subresource if the type has a field status that can hold something. A generation counts changes
// of all but metadata and status. Objects are judged by the tags of the Go type that is stored, whatever version the
// writer speaks; what a version leaves out is filled in by its own.
func (k Kind) Resource() apimachinery.Resource {
	res, err := k.resource()
	if err != nil {
		res.Name = schema.GroupResource{Group: k.Group, Resource: strings.ToLower(k.Kind)}
		res.Fault = fmt.Errorf("define %s: %w", k.Kind, err)
	}
	return res
}

func (k Kind) resource() (apimachinery.Resource, error) {
	if err := k.complete(); err != nil {
		return apimachinery.Resource{}, err
	}
	m, err := modelOf(k.Object)
	if err != nil {
		return apimachinery.Resource{}, err
	}
	h := &hub{model: m, kind: &k, gvk: schema.GroupVersionKind{Group: k.Group, Version: k.Version, Kind: k.Kind}}
	first, err := k.view(m, Version{Version: k.Version, Object: k.Object, Columns: k.Columns})
	if err != nil {
		return apimachinery.Resource{}, err
	}
	res := apimachinery.Resource{
		Name:       schema.GroupResource{Group: k.Group, Resource: k.Plural},
		Prefix:     k.Group + "/" + k.Plural,
		Namespaced: !k.Cluster, New: maker(k.Object), Views: []apimachinery.View{first},
		Default: h.setDefaults, Prepare: h.prepare, Validate: h.validate, Warnings: k.Warnings,
		Subs: map[string]apimachinery.Subresource{},
	}
	for _, v := range k.Versions {
		view, err := k.version(v)
		if err != nil {
			return res, fmt.Errorf("version %s: %w", v.Version, err)
		}
		res.Views = append(res.Views, view)
	}
	if m.status != nil {
		res.Subs["status"] = apimachinery.Subresource{
			Verbs:    []string{apimachinery.VerbGet, apimachinery.VerbPatch, apimachinery.VerbUpdate},
			Strategy: &apimachinery.Strategy{Owned: []string{"status"}, Prepare: h.prepareStatus, Validate: h.validateStatus},
		}
	}
	if k.Scale != nil {
		if res.Subs["scale"], err = newScaling(*k.Scale); err != nil {
			return res, err
		}
	}
	return res, nil
}

// complete fills in names, and says what is missing.
func (k *Kind) complete() error {
	t := reflect.TypeOf(k.Object)
	if t == nil || t.Kind() != reflect.Pointer || t.Elem().Kind() != reflect.Struct {
		return errors.New("the Object must be a pointer to a struct: &Website{}")
	}
	if name := t.Elem().Name(); k.Kind == "" && !strings.Contains(name, "[") {
		k.Kind = name
	}
	switch {
	case k.Kind == "":
		return errors.New("it needs a Kind: a Go type with parameters has no name of its own")
	case k.Group == "":
		return errors.New("it needs a Group, such as demo.example.com")
	}
	if k.Version == "" {
		k.Version = "v1"
	}
	plural, singular := meta.UnsafeGuessKindToResource(schema.GroupVersionKind{Group: k.Group, Version: k.Version, Kind: k.Kind})
	if k.Plural == "" {
		k.Plural = plural.Resource
	}
	if k.Singular == "" {
		k.Singular = singular.Resource
	}
	return nil
}

func (k *Kind) version(v Version) (apimachinery.View, error) {
	if v.Object == nil || v.ToHub == nil || v.FromHub == nil {
		return apimachinery.View{}, errors.New("it needs Object, ToHub and FromHub: see As and Convertible")
	}
	m, err := modelOf(v.Object)
	if err != nil {
		return apimachinery.View{}, err
	}
	view, err := k.view(m, v)
	view.New, view.ToHub, view.FromHub = maker(v.Object), v.ToHub, v.FromHub
	view.Unserved, view.Deprecated = v.Unserved, v.Deprecated
	return view, err
}

// view is what versions have in common.
func (k *Kind) view(m *model, v Version) (apimachinery.View, error) {
	columns, err := m.columns(v.Columns)
	if err != nil {
		return apimachinery.View{}, err
	}
	view := apimachinery.View{
		GroupVersionKind: schema.GroupVersionKind{Group: k.Group, Version: v.Version, Kind: k.Kind},
		Plural:           k.Plural, Singular: k.Singular, Short: k.Short, Category: k.Category,
		Columns: columns, Complete: m.completer(), OpenAPI: m.openAPI,
	}
	for _, f := range k.Fields {
		view.Fields = append(view.Fields, apimachinery.Field{Name: strings.TrimPrefix(f, ".")})
	}
	return view, nil
}

// maker makes empty objects of the type of one.
func maker(o apimachinery.Object) func() apimachinery.Object {
	t := reflect.TypeOf(o).Elem()
	return func() apimachinery.Object { return reflect.New(t).Interface().(apimachinery.Object) }
}
