package crd

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	apiext "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kversion "k8s.io/apimachinery/pkg/version"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/cel"
)

// version is what is kept of a version of a definition while nobody asks for it.
type version struct {
	gvk     schema.GroupVersionKind
	status  bool
	scale   *scaling
	schema  func() (*compiled, error)
	reading func() (apimachinery.Schema, error)
}

// defined is a resource made of a definition.
type defined struct {
	name     schema.GroupResource
	versions map[string]*version // by apiVersion
	convert  converter
	language *cel.Environment
	closing  *atomic.Bool // nothing may be created any more
}

// resourceOf makes the resource that an established definition defines. raw is the definition's JSON, of which the
// schemas are read when they are needed; closing says when nothing may be created any more.
func resourceOf(d *apiext.CustomResourceDefinition, raw []byte, convert converter, language *cel.Environment, closing *atomic.Bool) apimachinery.Resource {
	names := &d.Status.AcceptedNames
	r := &defined{
		name:     schema.GroupResource{Group: d.Spec.Group, Resource: names.Plural},
		versions: map[string]*version{}, convert: convert, language: language, closing: closing,
	}
	out := apimachinery.Resource{
		Name: r.name, Prefix: d.Spec.Group + "/" + names.Plural, Namespaced: d.Spec.Scope == apiext.NamespaceScoped,
		Default: r.setDefaults, Prepare: r.prepare, Validate: r.validate, Warnings: warnings, Closed: closing.Load,
		Conditional: true,
	}
	anyServed := false
	for i := range d.Spec.Versions {
		v := r.add(d, i, raw)
		view := r.view(d, i, v, raw)
		anyServed = anyServed || !view.Unserved
		if d.Spec.Versions[i].Storage {
			out.Views = slices.Insert(out.Views, 0, view)
		} else {
			out.Views = append(out.Views, view)
		}
	}
	digest := digestOf(raw)
	for i := range out.Views {
		out.Views[i].Digest = digest
	}
	out.New = out.Views[0].New
	if !anyServed {
		out.Verbs = []string{}
	}
	return out
}

func (r *defined) add(d *apiext.CustomResourceDefinition, i int, raw []byte) *version {
	declared := &d.Spec.Versions[i]
	v := &version{
		gvk:    schema.GroupVersionKind{Group: d.Spec.Group, Version: declared.Name, Kind: d.Status.AcceptedNames.Kind},
		status: declared.Subresources != nil && declared.Subresources.Status != nil,
		scale:  newScaling(declared.Subresources),
	}
	v.schema = sync.OnceValues(func() (*compiled, error) { return compileFrom(raw, v.gvk.Version, r.language) })
	v.reading = func() (apimachinery.Schema, error) { return v.schema() }
	r.versions[v.gvk.GroupVersion().String()] = v
	return v
}

func (r *defined) view(d *apiext.CustomResourceDefinition, i int, v *version, raw []byte) apimachinery.View {
	declared, names := &d.Spec.Versions[i], &d.Status.AcceptedNames
	apiVersion, kind, name := v.gvk.GroupVersion().String(), v.gvk.Kind, v.gvk.Version // the definition itself is not kept
	out := apimachinery.View{
		GroupVersionKind: v.gvk, Plural: names.Plural, Singular: names.Singular, ListKind: names.ListKind,
		Short: names.ShortNames, Category: names.Categories, Unserved: !declared.Served,
		New: func() apimachinery.Object {
			return &unstructured.Unstructured{Object: map[string]any{"apiVersion": apiVersion, "kind": kind}}
		},
		ToHub:   func(o apimachinery.Object) (apimachinery.Object, error) { return o, nil },
		FromHub: func(o apimachinery.Object) (apimachinery.Object, error) { return r.to(v, o) },
		Columns: columnsOf(declared.AdditionalPrinterColumns), Fields: fieldsOf(declared.SelectableFields),
		Schema: v.reading, Deprecated: deprecation(d, declared), Subs: map[string]apimachinery.Subresource{},
		OpenAPI: func(openAPI int) ([]byte, error) { return schemaFrom(raw, name, openAPI) },
	}
	if r.convert.batches() {
		out.FromHubs = func(ctx context.Context, all []apimachinery.Object) ([]apimachinery.Object, error) {
			return r.toAll(ctx, v, all)
		}
	}
	if v.status {
		out.Subs["status"] = apimachinery.Subresource{
			Verbs:    []string{apimachinery.VerbGet, apimachinery.VerbPatch, apimachinery.VerbUpdate},
			Strategy: &apimachinery.Strategy{Owned: []string{"status"}, Prepare: prepareStatus, Validate: r.validateStatus},
		}
	}
	if v.scale != nil {
		out.Subs["scale"] = v.scale.subresource()
	}
	return out
}

func fieldsOf(declared []apiext.SelectableField) (out []apimachinery.Field) {
	for _, f := range declared {
		out = append(out, apimachinery.Field{Name: strings.TrimPrefix(f.JSONPath, ".")})
	}
	return out
}

// deprecation is what users of a version are warned of; "" if it is not deprecated.
func deprecation(d *apiext.CustomResourceDefinition, v *apiext.CustomResourceDefinitionVersion) string {
	switch {
	case !v.Deprecated:
		return ""
	case v.DeprecationWarning != nil:
		return *v.DeprecationWarning
	}
	text := fmt.Sprintf("%s/%s %s is deprecated", d.Spec.Group, v.Name, d.Spec.Names.Kind)
	best := ""
	for i := range d.Spec.Versions {
		o := &d.Spec.Versions[i]
		if o.Served && !o.Deprecated && kversion.CompareKubeAwareVersionStrings(v.Name, o.Name) < 0 &&
			(best == "" || kversion.CompareKubeAwareVersionStrings(best, o.Name) < 0) {
			best = o.Name
		}
	}
	if best != "" {
		text += fmt.Sprintf("; use %s/%s %s", d.Spec.Group, best, d.Spec.Names.Kind)
	}
	return text
}

// of is the version that an object says that it has.
func (r *defined) of(u *unstructured.Unstructured) (*version, error) {
	v := r.versions[u.GetAPIVersion()]
	if v == nil {
		return nil, fmt.Errorf("%s has no version %q", r.name, u.GetAPIVersion())
	}
	return v, nil
}

func (r *defined) schemaOf(o apimachinery.Object) (*unstructured.Unstructured, *version, *compiled, error) {
	u := o.(*unstructured.Unstructured)
	v, err := r.of(u)
	if err != nil {
		return u, nil, nil, err
	}
	s, err := v.schema()
	return u, v, s, err
}

// setDefaults brings what others made of an object back to what its schema knows.
func (r *defined) setDefaults(o apimachinery.Object) {
	if u, _, s, err := r.schemaOf(o); err == nil {
		s.Prune(u.Object)
		s.Default(u.Object)
	}
}

func (r *defined) validate(ctx context.Context, new, old apimachinery.Object) field.ErrorList {
	u, v, s, err := r.schemaOf(new)
	if err != nil {
		return field.ErrorList{field.InternalError(nil, err)}
	}
	var before map[string]any
	if o, ok := old.(*unstructured.Unstructured); ok {
		before = o.Object
	}
	return s.validate(ctx, u.Object, before, v.scale.validate(u.Object, true))
}

func (r *defined) validateStatus(ctx context.Context, new, old apimachinery.Object) field.ErrorList {
	u, v, s, err := r.schemaOf(new)
	if err != nil {
		return field.ErrorList{field.InternalError(nil, err)}
	}
	return s.validateStatus(ctx, u.Object, old.(*unstructured.Unstructured).Object, v.scale.validate(u.Object, false))
}
