package informer

import (
	"fmt"
	"strconv"

	"k8s.io/apimachinery/pkg/types"

	"github.com/bedplate/bedplate/apimachinery"
)

// Change is how one object changed. The objects are shared: nobody may change them.
type Change[T apimachinery.Object] struct {
	// Key is "namespace/name", or "name".
	Key string
	// Old is the object before; the zero T (nil) where it was added.
	Old T
	// New is the object after; the zero T (nil) where it was deleted.
	New T
	// Added and Deleted say which of the two is missing.
	Added, Deleted bool
}

// Object is New, or Old if the object was deleted.
func (c Change[T]) Object() T {
	if c.Deleted {
		return c.Old
	}
	return c.New
}

// Handler hears of changes. Its functions are called one at a time, in the order of the changes, and must neither
// block nor call methods of the informer that change it; reading from it is fine.
type Handler[T apimachinery.Object] struct {
	// Change is told every change, after the cache has it. An object that was replaced by another of the same
	// name comes as a deletion and an addition.
	Change func(Change[T])
	// Progress is told, after the changes, how far the cache is.
	Progress func(rev int64)
}

// RevOf is an object's resourceVersion as a number; 0 if it is none.
func RevOf(version string) int64 {
	n, err := strconv.ParseInt(version, 10, 64)
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// item is one object in the cache: the object itself, or a way to get it.
type item[T apimachinery.Object] struct {
	uid  types.UID
	load func() (T, error) // nil: obj
	obj  T
}

func (i *item[T]) view() (T, error) {
	if i.load != nil {
		return i.load()
	}
	return i.obj, nil
}

// update is one step of a source: an object's new state, or its end where item is nil.
type update[T apimachinery.Object] struct {
	key  string
	item *item[T]
}

func held[T apimachinery.Object](o T) update[T] {
	return update[T]{key: apimachinery.KeyOf(o), item: &item[T]{uid: o.GetUID(), obj: o}}
}

func keyed(key string, err error) error { return fmt.Errorf("%s: %w", key, err) }
