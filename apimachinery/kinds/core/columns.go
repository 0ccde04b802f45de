package core

import (
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
)

var spec = field.NewPath("spec")

// wide makes a column that is shown by -o wide alone.
func wide[T apimachinery.Object](name, typ string, cell func(T) any) apimachinery.Column {
	return apimachinery.Wide(apimachinery.ColumnOf(name, typ, cell))
}

// or returns s, or what stands for nothing.
func or(s, nothing string) string {
	if s == "" {
		return nothing
	}
	return s
}
