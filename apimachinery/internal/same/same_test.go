package same

import (
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"
)

// fill draws a value of any API type: few different ones, so that two are often equal.
func fill(t *rapid.T, v reflect.Value, depth int) {
	some := func(most int) int { return rapid.IntRange(0, most).Draw(t, v.Type().String()) }
	switch v.Interface().(type) {
	case resource.Quantity:
		v.Set(reflect.ValueOf(resource.MustParse([]string{"0", "1", "1000m", "1k", "1.5Gi", "1e3", "3.0000000000000000000001"}[some(6)])))
		return
	case metav1.Time:
		v.Set(reflect.ValueOf(metav1.Time{Time: []time.Time{{}, time.Unix(5, 0), time.Unix(5, 0).UTC(), time.Unix(6, 0)}[some(3)]}))
		return
	case metav1.FieldsV1:
		v.Set(reflect.ValueOf(*metav1.NewFieldsV1([]string{"", "{}", `{"f:a":{}}`}[some(2)])))
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if depth > 0 && some(3) == 0 {
			v.Set(reflect.New(v.Type().Elem()))
			fill(t, v.Elem(), depth-1)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if some(2) == 0 {
				fill(t, v.Field(i), depth)
			}
		}
	case reflect.Slice:
		if n := some(3); depth > 0 && n > 0 {
			v.Set(reflect.MakeSlice(v.Type(), n-1, n-1))
			for i := range n - 1 {
				fill(t, v.Index(i), depth-1)
			}
		}
	case reflect.Map:
		if n := some(3); n > 0 {
			v.Set(reflect.MakeMap(v.Type()))
			for range n - 1 {
				key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
				fill(t, key, depth-1)
				fill(t, value, depth-1)
				v.SetMapIndex(key, value)
			}
		}
	case reflect.String:
		v.SetString([]string{"", "a", "b"}[some(2)])
	case reflect.Bool:
		v.SetBool(some(1) == 1)
	case reflect.Int32, reflect.Int64:
		v.SetInt(int64(some(2) * 0x7fffffff / 2))
	case reflect.Uint8:
		v.SetUint(uint64(some(2)))
	}
}

// change replaces something in v, at random.
func change(t *rapid.T, v reflect.Value) {
	switch {
	case v.Kind() == reflect.Struct && v.NumField() > 0 && v.Type() != reflect.TypeFor[resource.Quantity]() && v.Type() != reflect.TypeFor[metav1.Time]() && v.Type() != reflect.TypeFor[metav1.FieldsV1]():
		change(t, v.Field(rapid.IntRange(0, v.NumField()-1).Draw(t, "field")))
	case v.Kind() == reflect.Pointer && !v.IsNil() && rapid.Bool().Draw(t, "into"):
		change(t, v.Elem())
	case v.Kind() == reflect.Slice && v.Len() > 0 && rapid.Bool().Draw(t, "into"):
		change(t, v.Index(rapid.IntRange(0, v.Len()-1).Draw(t, "item")))
	default:
		v.SetZero()
		fill(t, v, 3)
	}
}

func agrees[T any, P interface {
	*T
	DeepCopy() *T
}](t *testing.T) {
	equal := Func[T]()
	rapid.Check(t, func(t *rapid.T) {
		a := new(T)
		fill(t, reflect.ValueOf(a).Elem(), 5)
		b := P(a).DeepCopy()
		if !equal(a, b) {
			t.Fatalf("a copy differs: %+v", a)
		}
		for range rapid.IntRange(0, 2).Draw(t, "changes") {
			change(t, reflect.ValueOf(b).Elem())
		}
		if want := equality.Semantic.DeepEqual(a, b); equal(a, b) != want || equal(b, a) != want {
			t.Fatalf("equal is %v of\n%+v\n%+v", want, a, b)
		}
	})
}

func TestAgreesWithKubernetes(t *testing.T) {
	t.Run("PodSpec", agrees[corev1.PodSpec])
	t.Run("Container", agrees[corev1.Container])
	t.Run("Volume", agrees[corev1.Volume])
	t.Run("Affinity", agrees[corev1.Affinity])
	t.Run("ResourceRequirements", agrees[corev1.ResourceRequirements])
	t.Run("PodStatus", agrees[corev1.PodStatus])
	t.Run("ObjectMeta", agrees[metav1.ObjectMeta])
	t.Run("DeploymentSpec", agrees[appsv1.DeploymentSpec])
	t.Run("NodeStatus", agrees[corev1.NodeStatus])
}

func BenchmarkPodSpec(b *testing.B) {
	spec := &corev1.PodSpec{Containers: make([]corev1.Container, 2), Volumes: make([]corev1.Volume, 3)}
	again := spec.DeepCopy()
	equal := Func[corev1.PodSpec]()
	b.Run("here", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			equal(spec, again)
		}
	})
	b.Run("kubernetes", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			equality.Semantic.DeepEqual(spec, again)
		}
	})
}

// TestEveryField: no field of a struct is passed over, whatever its type.
func TestEveryField(t *testing.T) {
	type odd struct {
		A float64
		B any
		C [2]int16
		D map[int]bool
		E func()
		F struct{ G []uint16 }
		H []byte
	}
	equal := Func[odd]()
	require.True(t, equal(&odd{H: []byte{}, D: map[int]bool{}}, &odd{}))
	for _, o := range []odd{
		{A: 1}, {B: 1}, {C: [2]int16{0, 1}}, {D: map[int]bool{1: false}}, {E: func() {}}, {F: struct{ G []uint16 }{[]uint16{1}}}, {H: []byte{0}},
	} {
		require.False(t, equal(&o, &odd{}), "%+v", o)
	}
}

// A type that contains itself.
func TestRecursive(t *testing.T) {
	type tree struct{ Left, Right *tree }
	equal := Func[tree]()
	require.True(t, equal(&tree{Left: &tree{}}, &tree{Left: &tree{}}))
	require.False(t, equal(&tree{Left: &tree{}}, &tree{Right: &tree{}}))
}
