package hook

import (
	"context"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/types"

	"github.com/bedplate/bedplate/apimachinery"
)

// Objects returns the objects of a resource as they are now, in the order of their names. What it returns is only read.
type Objects func(ctx context.Context) ([]apimachinery.Object, error)

// Compiled keeps what is made of objects until they change. Concurrent calls are fine.
type Compiled[T any] struct {
	objects Objects
	compile func(o apimachinery.Object) T
	drop    func(T)
	now     atomic.Pointer[[]made[T]]
}

type made[T any] struct {
	uid     types.UID
	version string
	of      T
}

// NewCompiled makes one. drop is told what is used no longer; nil: nobody is.
func NewCompiled[T any](objects Objects, compile func(o apimachinery.Object) T, drop func(T)) *Compiled[T] {
	return &Compiled[T]{objects: objects, compile: compile, drop: drop}
}

// Get returns what is made of each object as it is now.
func (c *Compiled[T]) Get(ctx context.Context) ([]T, error) {
	objects, err := c.objects(ctx)
	if err != nil {
		return nil, err
	}
	if len(objects) == 0 && c.now.Load() == nil {
		return nil, nil
	}
	for {
		before := c.now.Load()
		after, same := c.revise(before, objects)
		if same {
			return values(*before), nil
		}
		if c.now.CompareAndSwap(before, &after) {
			c.dropped(before, after)
			return values(after), nil
		}
	}
}

func values[T any](all []made[T]) []T {
	out := make([]T, len(all))
	for i := range all {
		out[i] = all[i].of
	}
	return out
}

// revise makes anew what has changed; same says that nothing has.
func (c *Compiled[T]) revise(before *[]made[T], objects []apimachinery.Object) (after []made[T], same bool) {
	var have []made[T]
	if before != nil {
		have = *before
	}
	same = before != nil && len(have) == len(objects)
	for i, o := range objects {
		if same = same && have[i].is(o); !same {
			break
		}
	}
	if same {
		return nil, true
	}
	byUID := make(map[types.UID]made[T], len(have))
	for _, m := range have {
		byUID[m.uid] = m
	}
	for _, o := range objects {
		m, ok := byUID[o.GetUID()]
		if !ok || !m.is(o) {
			m = made[T]{o.GetUID(), o.GetResourceVersion(), c.compile(o)}
		}
		after = append(after, m)
	}
	return after, false
}

func (m *made[T]) is(o apimachinery.Object) bool {
	return m.uid == o.GetUID() && m.version == o.GetResourceVersion()
}

func (c *Compiled[T]) dropped(before *[]made[T], after []made[T]) {
	if c.drop == nil || before == nil {
		return
	}
	type key struct {
		uid     types.UID
		version string
	}
	kept := map[key]bool{}
	for _, m := range after {
		kept[key{m.uid, m.version}] = true
	}
	for _, m := range *before {
		if !kept[key{m.uid, m.version}] {
			c.drop(m.of)
		}
	}
}
