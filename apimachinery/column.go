package apimachinery

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
)

// ColumnOf makes a column whose cell sees the view's own Go type. typ is "string", "integer", "boolean", "number" or
// "date".
func ColumnOf[T Object](name, typ string, cell func(T) any) Column {
	return Column{
		TableColumnDefinition: metav1.TableColumnDefinition{Name: name, Type: typ},
		Cell:                  func(o Object) any { return cell(o.(T)) },
	}
}

// Wide makes a column one that kubectl shows with -o wide alone.
func Wide(c Column) Column {
	c.Priority = 1
	return c
}

// NameColumn is the first column of most kinds.
func NameColumn() Column {
	return Column{
		TableColumnDefinition: metav1.TableColumnDefinition{Name: "Name", Type: "string", Format: "name"},
		Cell:                  func(o Object) any { return o.GetName() },
	}
}

// AgeColumn says how long ago the object was created.
func AgeColumn() Column {
	return Column{
		TableColumnDefinition: metav1.TableColumnDefinition{Name: "Age", Type: "string"},
		Cell:                  func(o Object) any { return Age(o.GetCreationTimestamp()) },
	}
}

// Age says how long ago something was, in kubectl's words; "<unknown>" of no time.
func Age(t metav1.Time) string {
	if t.IsZero() {
		return "<unknown>"
	}
	return duration.HumanDuration(time.Since(t.Time))
}
