package core

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
)

var spec = field.NewPath("spec")

// column makes a column whose cell sees the object's own type.
func column[T apimachinery.Object](name, typ string, cell func(T) any) apimachinery.Column {
	return apimachinery.Column{
		TableColumnDefinition: metav1.TableColumnDefinition{Name: name, Type: typ},
		Cell:                  func(o apimachinery.Object) any { return cell(o.(T)) },
	}
}

// wide makes a column that is shown by -o wide alone.
func wide[T apimachinery.Object](name, typ string, cell func(T) any) apimachinery.Column {
	c := column(name, typ, cell)
	c.Priority = 1
	return c
}

func nameColumn[T apimachinery.Object]() apimachinery.Column {
	c := column("Name", "string", func(o T) any { return o.GetName() })
	c.Format = "name"
	return c
}

func ageColumn[T apimachinery.Object]() apimachinery.Column {
	return column("Age", "string", func(o T) any { return age(o.GetCreationTimestamp()) })
}

// age is how long ago t was, as kubectl shows it.
func age(t metav1.Time) string {
	if t.IsZero() {
		return "<unknown>"
	}
	return duration.HumanDuration(time.Since(t.Time))
}

// or returns s, or what stands for nothing.
func or(s, nothing string) string {
	if s == "" {
		return nothing
	}
	return s
}
