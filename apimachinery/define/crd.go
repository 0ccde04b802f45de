package define

import (
	"errors"
	"fmt"
	"slices"

	apiext "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/cel"
)

// CRDOf returns the definition by which other servers serve the kind of a Resource whose objects are Go types. It has
// the schema, rules and columns that tags declare, names, versions, selectable fields, status and scale.
//
// What only Go knows it can't say: defaults and validation by methods and functions, warnings, admission plugins,
// conversion among versions (it names none but the change of apiVersion, so those who need more set
// spec.conversion), and columns that a function fills, which are left out. Where a type says less than JSON, as with an omitempty that drops a zero, other
// servers keep what was written.
func CRDOf(res apimachinery.Resource) (*apiext.CustomResourceDefinition, error) {
	d, err := crdOf(res)
	if err != nil {
		return nil, fmt.Errorf("definition of %s: %w", res.Name, err)
	}
	return d, nil
}

func crdOf(res apimachinery.Resource) (*apiext.CustomResourceDefinition, error) {
	switch {
	case res.Fault != nil:
		return nil, res.Fault
	case len(res.Views) == 0 || res.Name.Group == "":
		return nil, errors.New("it has no view, or no group")
	case res.Virtual != nil || res.Listed != nil:
		return nil, errors.New("its objects are not stored")
	}
	first := &res.Views[0]
	d := &apiext.CustomResourceDefinition{
		TypeMeta:   metav1.TypeMeta{APIVersion: apiext.SchemeGroupVersion.String(), Kind: "CustomResourceDefinition"},
		ObjectMeta: metav1.ObjectMeta{Name: first.Plural + "." + first.Group},
		Spec: apiext.CustomResourceDefinitionSpec{
			Group: first.Group, Scope: apiext.ClusterScoped,
			Names: apiext.CustomResourceDefinitionNames{
				Plural: first.Plural, Singular: first.Singular, Kind: first.Kind, ListKind: first.ListKind,
				ShortNames: slices.Clone(first.Short), Categories: slices.Clone(first.Category),
			},
		},
	}
	if res.Namespaced {
		d.Spec.Scope = apiext.NamespaceScoped
	}
	for i := range res.Views {
		v, err := versionOf(&res, &res.Views[i])
		if err != nil {
			return nil, fmt.Errorf("version %s: %w", res.Views[i].Version, err)
		}
		v.Storage = i == 0
		d.Spec.Versions = append(d.Spec.Versions, *v)
	}
	return d, nil
}

func versionOf(res *apimachinery.Resource, view *apimachinery.View) (*apiext.CustomResourceDefinitionVersion, error) {
	if view.Schema != nil {
		return nil, errors.New("it is not a Go type")
	}
	f := apimachinery.Found{Resource: res, View: view}
	s, err := propsOf(f.New(), cel.New())
	if err != nil {
		return nil, err
	}
	v := &apiext.CustomResourceDefinitionVersion{
		Name: view.Version, Served: !view.Unserved, Schema: &apiext.CustomResourceValidation{OpenAPIV3Schema: s},
		AdditionalPrinterColumns: columnsFor(view.Columns), Subresources: subsOf(f.Subs()),
	}
	if view.Deprecated != "" {
		v.Deprecated, v.DeprecationWarning = true, &view.Deprecated
	}
	for _, field := range view.Fields {
		path := field.Name
		if len(field.Paths) == 1 {
			path = field.Paths[0]
		}
		v.SelectableFields = append(v.SelectableFields, apiext.SelectableField{JSONPath: "." + path})
	}
	return v, nil
}

func columnsFor(columns []apimachinery.Column) (out []apiext.CustomResourceColumnDefinition) {
	for _, c := range columns {
		if c.Path != "" {
			out = append(out, apiext.CustomResourceColumnDefinition{
				Name: c.Name, Type: c.Type, Format: c.Format, Description: c.Description, Priority: c.Priority, JSONPath: c.Path,
			})
		}
	}
	return out
}

// subsOf are the subresources that a definition can have; nil for none.
func subsOf(subs map[string]apimachinery.Subresource) *apiext.CustomResourceSubresources {
	out := &apiext.CustomResourceSubresources{}
	if s, ok := subs["status"]; ok && s.Strategy != nil {
		out.Status = &apiext.CustomResourceSubresourceStatus{}
	}
	if s := subs["scale"].Scale; s != nil {
		out.Scale = &apiext.CustomResourceSubresourceScale{SpecReplicasPath: s.Spec, StatusReplicasPath: s.Status}
		if s.Selector != "" {
			out.Scale.LabelSelectorPath = &s.Selector
		}
	}
	if out.Status == nil && out.Scale == nil {
		return nil
	}
	return out
}
