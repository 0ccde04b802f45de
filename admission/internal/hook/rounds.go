package hook

import (
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/bedplate/bedplate/apimachinery"
)

// Rounds is what the second round of a plugin that mutates knows of the first: what was asked and may be asked again,
// and whether the object has changed since.
type Rounds struct {
	plugin string
	before map[string]bool // asked, and may be asked again
	due    map[string]bool // those of them that must be
	left   runtime.Object  // the object as the plugin left it
}

// RoundsOf begins a round of a plugin for an admission.
func RoundsOf(a *apimachinery.Admission, plugin string) *Rounds {
	m, ok := a.Memory[plugin].(*Rounds)
	if !ok {
		m = &Rounds{plugin: plugin, before: map[string]bool{}, due: map[string]bool{}}
		if a.Memory == nil {
			a.Memory = map[string]any{}
		}
		a.Memory[plugin] = m
	}
	if a.Round > 0 && !equality.Semantic.DeepEqual(m.left, object(a)) {
		m.requireBefore()
	}
	return m
}

func object(a *apimachinery.Admission) runtime.Object {
	if a.Object == nil {
		return nil
	}
	return a.Object
}

func (m *Rounds) requireBefore() {
	for k := range m.before {
		m.due[k] = true
	}
	clear(m.before)
}

// Skips says whether something is not to be asked in this round.
func (m *Rounds) Skips(a *apimachinery.Admission, key string) bool { return a.Round > 0 && !m.due[key] }

// Changed tells that the object is another one now: whoever was asked before, and may be, is asked again.
func (m *Rounds) Changed(a *apimachinery.Admission) {
	m.requireBefore()
	a.Again = true
}

// Asked notes that something was asked that may be asked again.
func (m *Rounds) Asked(key string) { m.before[key] = true }

// End ends the round.
func (m *Rounds) End(a *apimachinery.Admission) {
	if a.Object != nil {
		m.left = a.Object.DeepCopyObject()
	}
}
