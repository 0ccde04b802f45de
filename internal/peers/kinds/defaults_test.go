package kinds

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestDefaults: what is decoded is the same in both, for the corpus and for objects that differ from it in one field.
func TestDefaults(t *testing.T) {
	k := newKubernetes()
	for _, p := range pairs() {
		t.Run(p.gvk.Kind, func(t *testing.T) {
			found := newReport()
			objects := p.objects(t)
			m := newMutator(*seed, objects...)
			for _, o := range objects {
				compareDefaults(t, k, p, "corpus: "+o.GetName(), o, found)
				m.each(o, *oneOf, func(what string, mutated object) { compareDefaults(t, k, p, what, mutated, found) })
			}
			found.check(t, p.gvk.Kind, "defaults")
		})
	}
}

func compareDefaults(t *testing.T, k kubernetes, p pair, what string, o object, found *report) {
	theirs, err := k.defaulted(o, p.gvk)
	require.NoError(t, err, what)
	ours := sent(o)
	if p.ours.Default != nil {
		p.ours.Default(ours)
	}
	found.compared++
	for _, d := range unequal(t, ours, theirs) {
		found.add(d, what)
	}
	again := sent(ours)
	if p.ours.Default != nil {
		p.ours.Default(again)
	}
	require.Empty(t, unequal(t, ours, again), "%s: defaults twice", what)
}
