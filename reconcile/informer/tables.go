package informer

import (
	"fmt"
	"log/slog"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/storage"
)

// Tables are the tables of a server in this process: apimachinery/server.Server is one.
type Tables interface {
	// Table returns the table of a resource.
	Table(name schema.GroupResource) (*storage.Table, bool)
	// Object returns an entry's shared object as a version has it.
	Object(gvr schema.GroupVersionResource, e *storage.Entry) (apimachinery.Object, error)
	// Metadata returns the shared metadata of an entry's object.
	Metadata(name schema.GroupResource, e *storage.Entry) (*metav1.PartialObjectMetadata, error)
}

// Of returns an informer over t's table of what r is the door to: all objects, or their metadata where r is
// client.Metadata.
func Of[T apimachinery.Object](t Tables, r client.Resource[T], log *slog.Logger) (*Informer[T], error) {
	if err := r.Err(); err != nil {
		return nil, fmt.Errorf("make an informer: %w", err)
	}
	table, ok := t.Table(r.Name())
	if !ok {
		return nil, fmt.Errorf("make an informer: the server has no table of %s", r.Name())
	}
	read := func(e *storage.Entry) (any, error) { return t.Object(r.GroupVersionResource(), e) }
	if _, partial := any(r.New()).(*metav1.PartialObjectMetadata); partial {
		read = func(e *storage.Entry) (any, error) { return t.Metadata(r.Name(), e) }
	}
	object := func(e *storage.Entry) (o T, err error) {
		got, err := read(e)
		if err != nil {
			return o, err
		}
		return as[T](got)
	}
	return View(Table[T]{Table: table, Object: object, Log: log})
}

func as[T apimachinery.Object](o any) (T, error) {
	t, ok := o.(T)
	if !ok {
		return t, fmt.Errorf("the server holds a %T, not a %T", o, t)
	}
	return t, nil
}
