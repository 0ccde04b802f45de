package kinds

import (
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bedplate/bedplate/apimachinery/kinds/autoscaling"
	"github.com/bedplate/bedplate/internal/peers/corpus"
)

// TestConversion: an autoscaler that is stored as v2 looks the same in v1, and one that is sent in v1, and changed by
// a client that knows v1 alone, is the same in v2.
func TestConversion(t *testing.T) {
	k, r := newKubernetes(), autoscaling.HorizontalPodAutoscalers()
	v2, v1 := r.Views[0], r.Views[1]
	all, err := corpus.Load(v2.GroupVersionKind, r.New)
	require.NoError(t, err)
	down, up := newReport(), newReport()
	to := func(o runtime.Object, gvk schema.GroupVersionKind) runtime.Object {
		in, err := k.internal(o)
		require.NoError(t, err)
		out, err := k.external(in, gvk)
		require.NoError(t, err)
		return out
	}
	compareUp := func(what string, o object) {
		o.GetObjectKind().SetGroupVersionKind(v1.GroupVersionKind)
		theirs := sent(o)
		k.scheme.Default(theirs)
		want := to(theirs, v2.GroupVersionKind)
		k.scheme.Default(want) // as it is read back
		have, err := v1.ToHub(sent(o))
		require.NoError(t, err)
		r.Default(have)
		have.GetObjectKind().SetGroupVersionKind(v2.GroupVersionKind)
		up.compared++
		for _, d := range unequal(t, have, want) {
			up.add(d, what)
		}
	}
	compare := func(what string, o object) {
		before := sent(o)
		have, err := v1.FromHub(o)
		require.NoError(t, err)
		require.Empty(t, unequal(t, before, o), "a conversion leaves its input alone")
		have.GetObjectKind().SetGroupVersionKind(v1.GroupVersionKind)
		down.compared++
		for _, d := range unequal(t, have, to(o, v1.GroupVersionKind)) {
			down.add(d, what)
		}
		compareUp(what, have)
	}
	m := newMutator(*seed, all...)
	var old []object
	for _, o := range all {
		compare("corpus: "+o.GetName(), o)
		m.each(o, *oneOf, compare)
		r.Default(o)
		v, err := v1.FromHub(o)
		require.NoError(t, err)
		old = append(old, v)
	}
	m = newMutator(*seed, old...)
	for _, o := range old {
		m.each(o, *oneOf, compareUp)
		for name := range o.GetAnnotations() {
			for _, text := range []string{"", "null", "{}", "[]", "[{}]", "x", `{"ScaleUp":{}}`, `[{"type":"Pods","pods":{}}]`, `[{"type":"Object","object":{"averageValue":"1"}}]`} {
				c := sent(o)
				c.SetAnnotations(map[string]string{name: text, "a": "b"})
				compareUp(o.GetName()+" with "+name+"="+text, c)
			}
		}
	}
	down.check(t, v1.Kind, "conversion to v1")
	up.check(t, v1.Kind, "conversion from v1")
}
