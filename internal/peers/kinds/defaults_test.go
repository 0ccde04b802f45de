package kinds

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/randfill"
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

// TestRandomDefaults: nor does it take a sensible object.
func TestRandomDefaults(t *testing.T) {
	k := newKubernetes()
	fill := randfill.NewWithSeed(int64(*seed)).NilChance(0.3).NumElements(0, 3).MaxDepth(14).Funcs(
		func(q *resource.Quantity, c randfill.Continue) {
			*q = resource.MustParse(quantities[c.Intn(len(quantities))])
		},
		func(s *intstr.IntOrString, c randfill.Continue) {
			*s = intstr.FromInt32(c.Int31n(100))
			if c.Bool() {
				*s = intstr.FromString(words[c.Intn(len(words))])
			}
		},
		func(s *string, c randfill.Continue) { *s = words[c.Intn(len(words))] },
		func(t *metav1.Time, c randfill.Continue) { *t = metav1.Unix(c.Int63n(1<<31), 0) },
		func(t *metav1.MicroTime, c randfill.Continue) {
			*t = metav1.NewMicroTime(time.UnixMicro(c.Int63n(1 << 50)))
		},
		func(m *metav1.TypeMeta, c randfill.Continue) {},
		func(f *metav1.FieldsV1, c randfill.Continue) {},
		func(r *runtime.RawExtension, c randfill.Continue) { r.Raw = []byte(`{"a":1}`) },
	)
	for _, p := range pairs() {
		t.Run(p.gvk.Kind, func(t *testing.T) {
			found := newReport()
			for i := range 1000 {
				o := p.ours.New()
				fill.Fill(o)
				o.GetObjectKind().SetGroupVersionKind(p.gvk)
				compareDefaults(t, k, p, fmt.Sprint("random ", i), o, found)
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
