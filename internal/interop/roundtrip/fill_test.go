package roundtrip

import (
	"flag"
	"math/rand"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/apitesting/fuzzer"
	"k8s.io/apimachinery/pkg/api/resource"
	metafuzzer "k8s.io/apimachinery/pkg/apis/meta/fuzzer"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"sigs.k8s.io/randfill"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/kinds"
	"github.com/bedplate/bedplate/apimachinery/kinds/apiextensions"
)

var (
	objects = flag.Int("objects", 25, "random objects of each kind")
	seed    = flag.Int64("seed", 0, "of the random objects; 0: the clock")
)

// pinned is the seed, told to whoever reads the log of a failure.
func pinned(t testing.TB) int64 {
	s := *seed
	if s == 0 {
		s = time.Now().UnixNano()
	}
	t.Logf("-seed %d -objects %d", s, *objects)
	return s
}

// newScheme has every type that the kinds have.
func newScheme(t testing.TB) *runtime.Scheme {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientscheme.AddToScheme, apiextensionsv1.AddToScheme, apiregistrationv1.AddToScheme} {
		require.NoError(t, add(s))
	}
	return s
}

// newRegistry has every kind that is stored.
func newRegistry(t testing.TB) *apimachinery.Registry {
	r, err := apimachinery.NewRegistry(append(kinds.All(), apiextensions.Resources()...)...)
	require.NoError(t, err)
	return r
}

// each calls do once for every view of every kind that is stored.
func each(t *testing.T, r *apimachinery.Registry, do func(*testing.T, apimachinery.Found)) {
	for _, res := range r.All() {
		for i := range res.Views {
			t.Run(res.Views[i].GroupVersionKind.String(), func(t *testing.T) { do(t, apimachinery.Found{Resource: res, View: &res.Views[i]}) })
		}
	}
}

// newFiller fills objects as k8s.io/apimachinery's own round trips do, and what it has no words for by funcs.
func newFiller(s *runtime.Scheme, seed int64) *randfill.Filler {
	return fuzzer.FuzzerFor(fuzzer.MergeFuzzerFuncs(metafuzzer.Funcs, funcs), rand.NewSource(seed), serializer.NewCodecFactory(s)).MaxDepth(12)
}

func funcs(serializer.CodecFactory) []any {
	return []any{
		func(q *resource.Quantity, c randfill.Continue) {
			*q = resource.MustParse([]string{"0", "1", "100m", "1500m", "2Gi", "1e3", "0.5", "12345678901234567890", "-3Ki", "1n"}[c.Intn(10)])
		},
		func(t *metav1.Time, c randfill.Continue) { *t = metav1.Unix(c.Int63n(1<<31), 0) },
		func(t *metav1.MicroTime, c randfill.Continue) {
			*t = metav1.NewMicroTime(time.UnixMicro(c.Int63n(1 << 50)))
		},
		func(r *runtime.RawExtension, c randfill.Continue) {
			r.Raw = []byte([]string{`{"a":1}`, `{"apiVersion":"v1","kind":"X","b":{"c":[null,1.5,"<d>"]}}`, `{}`}[c.Intn(3)])
		},
		func(f *metav1.FieldsV1, c randfill.Continue) { f.Raw = []byte(`{"f:metadata":{"f:labels":{}}}`) },
		func(m *metav1.ManagedFieldsEntry, c randfill.Continue) {
			c.FillNoCustom(m)
			if m.FieldsV1 != nil && len(m.FieldsV1.Raw) == 0 {
				m.FieldsV1 = nil
			}
		},
		func(s *corev1.ConfigMap, c randfill.Continue) {
			c.FillNoCustom(s)
			delete(s.Data, "")
		},
		func(j *apiextensionsv1.JSON, c randfill.Continue) {
			j.Raw = []byte([]string{`1`, `"x"`, `{"a":[true]}`, `[]`, `1.5`, `false`}[c.Intn(6)])
		},
		func(p *apiextensionsv1.JSONSchemaPropsOrBool, c randfill.Continue) {
			if p.Allows = c.Bool(); p.Allows && c.Bool() {
				p.Schema = &apiextensionsv1.JSONSchemaProps{Type: "string"}
			}
		},
		func(p *apiextensionsv1.JSONSchemaPropsOrArray, c randfill.Continue) {
			p.Schema = &apiextensionsv1.JSONSchemaProps{Type: "integer"}
		},
		func(p *apiextensionsv1.JSONSchemaPropsOrStringArray, c randfill.Continue) {
			if p.Property = []string{"a", "b"}; c.Bool() {
				p.Property, p.Schema = nil, &apiextensionsv1.JSONSchemaProps{Format: "date"}
			}
		},
		func(p *apiextensionsv1.JSONSchemaProps, c randfill.Continue) {
			if c.Intn(3) > 0 {
				*p = apiextensionsv1.JSONSchemaProps{Type: "object", Description: c.String(0), Nullable: c.Bool()}
				return
			}
			c.FillNoCustom(p)
		},
	}
}

// filled is an object with random content that says its kind.
func filled(fill *randfill.Filler, f apimachinery.Found) apimachinery.Object {
	o := f.New()
	fill.Fill(o)
	kinded(o, f.View.GroupVersionKind)
	return o
}

func kinded(o apimachinery.Object, gvk schema.GroupVersionKind) {
	o.GetObjectKind().SetGroupVersionKind(gvk)
}
