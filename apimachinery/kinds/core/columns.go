package core

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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

// createdColumn is the second column of kinds that have no columns of their own in Kubernetes.
func createdColumn() apimachinery.Column {
	return apimachinery.Column{
		TableColumnDefinition: metav1.TableColumnDefinition{Name: "Created At", Type: "date"},
		Cell:                  func(o apimachinery.Object) any { return o.GetCreationTimestamp().UTC().Format(time.RFC3339) },
	}
}

// containersOf lists something of each container.
func containersOf(list []corev1.Container, of func(*corev1.Container) string) string {
	var all []string
	for i := range list {
		all = append(all, of(&list[i]))
	}
	return strings.Join(all, ",")
}

func nameOf(c *corev1.Container) string  { return c.Name }
func imageOf(c *corev1.Container) string { return c.Image }
