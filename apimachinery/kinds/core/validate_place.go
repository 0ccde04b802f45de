package core

import "k8s.io/apimachinery/pkg/util/validation/field"

// place is where in an object something is judged; nil: nobody asks. Nearly all that is judged is right, and the
// names of places are then most of the work.
type place field.Path

// located judges without asking where, which costs little. Only if something is wrong it judges again, for the
// places. path must not be nil.
func located(path *field.Path, judge func(at *place) field.ErrorList) field.ErrorList {
	if len(judge(nil)) == 0 {
		return nil
	}
	return judge((*place)(path))
}

// path is the place as errors have it.
func (p *place) path() *field.Path { return (*field.Path)(p) }

func (p *place) child(name string) *place {
	if p == nil {
		return nil
	}
	return (*place)(p.path().Child(name))
}

func (p *place) index(i int) *place {
	if p == nil {
		return nil
	}
	return (*place)(p.path().Index(i))
}

func (p *place) key(key string) *place {
	if p == nil {
		return nil
	}
	return (*place)(p.path().Key(key))
}
