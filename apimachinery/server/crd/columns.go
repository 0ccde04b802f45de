package crd

import (
	apiext "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/internal/cells"
	"github.com/bedplate/bedplate/apimachinery/server/table"
)

// columnsOf are the printer columns of a version: those that it declares behind the name, or the age. Their paths are
// compiled when a table is first asked for. A path that can't be read leaves its cells empty.
func columnsOf(declared []apiext.CustomResourceColumnDefinition) []apimachinery.Column {
	if len(declared) == 0 {
		return nil
	}
	out := []apimachinery.Column{table.Name()}
	for i := range declared {
		d := &declared[i]
		of := cells.Of(d.Type, d.JSONPath)
		out = append(out, apimachinery.Column{
			TableColumnDefinition: metav1.TableColumnDefinition{
				Name: d.Name, Type: d.Type, Format: d.Format, Description: cells.Describe(d.Description, d.JSONPath), Priority: d.Priority,
			},
			Path: d.JSONPath,
			Cell: func(o apimachinery.Object) any {
				u, ok := o.(*unstructured.Unstructured)
				if !ok {
					return nil
				}
				return of(u.Object)
			},
		})
	}
	return out
}
