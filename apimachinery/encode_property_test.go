package apimachinery_test

import (
	"fmt"
	"math"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"pgregory.net/rapid"

	"github.com/bedplate/bedplate/apimachinery"
)

// anyString draws strings that may be no UTF-8.
func anyString() *rapid.Generator[string] {
	return rapid.OneOf(rapid.String(), rapid.SampledFrom(oddStrings), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }))
}

func anyValue(depth int) *rapid.Generator[any] {
	leaves := []*rapid.Generator[any]{
		rapid.Just[any](nil), rapid.Map(anyString(), func(s string) any { return s }), rapid.Map(rapid.Int64(), func(i int64) any { return i }),
		rapid.Map(rapid.Float64(), func(f float64) any { return f }), rapid.Map(rapid.Bool(), func(b bool) any { return b }),
	}
	if depth > 0 {
		inner := anyValue(depth - 1)
		leaves = append(leaves,
			rapid.Map(rapid.MapOfN(anyString(), inner, 0, 20), func(m map[string]any) any { return m }),
			rapid.Map(rapid.SliceOfN(inner, 0, 4), func(l []any) any { return l }))
	}
	return rapid.OneOf(leaves...)
}

func TestEncodeValuesProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		requireSame(t, anyString().Draw(t, "string"))
		requireSame(t, rapid.MapOf(anyString(), anyString()).Draw(t, "map"))
		requireSame(t, rapid.MapOf(anyString(), rapid.SliceOf(rapid.Byte())).Draw(t, "data"))
		requireSame(t, anyValue(3).Draw(t, "any"))
		requireSame(t, math.Float32frombits(rapid.Uint32().Draw(t, "float32")))
		requireSame(t, math.Float64frombits(rapid.Uint64().Draw(t, "float64")))
	})
}

// The types that fields of random structs have.
var fieldTypes = []reflect.Type{
	reflect.TypeFor[string](), reflect.TypeFor[int32](), reflect.TypeFor[*int64](), reflect.TypeFor[bool](), reflect.TypeFor[uint16](), reflect.TypeFor[float32](),
	reflect.TypeFor[float64](), reflect.TypeFor[[]byte](), reflect.TypeFor[[]string](), reflect.TypeFor[map[string]string](), reflect.TypeFor[map[Named]int8](),
	reflect.TypeFor[metav1.Time](), reflect.TypeFor[*metav1.Time](), reflect.TypeFor[resource.Quantity](), reflect.TypeFor[intstr.IntOrString](), reflect.TypeFor[*Deep](),
	reflect.TypeFor[[2]uint8](), reflect.TypeFor[Named](), reflect.TypeFor[any](), reflect.TypeFor[[]Inner](), reflect.TypeFor[map[string][]map[string]Inner](),
}

var embeddedTypes = []reflect.Type{reflect.TypeFor[Inner](), reflect.TypeFor[Rival](), reflect.TypeFor[Untagged](), reflect.TypeFor[Deep](), reflect.TypeFor[*Untagged]()}

// structType draws a struct type: fields of many types, tags that clash, embedded structs.
func structType(t *rapid.T) reflect.Type {
	var fields []reflect.StructField
	for i := range rapid.IntRange(0, 6).Draw(t, "fields") {
		name := rapid.SampledFrom([]string{"", "", "A", "b", "C", "d", "x", "-"}).Draw(t, "tag")
		option := rapid.SampledFrom([]string{"", "", ",omitempty", ",omitzero", ",omitempty,omitzero", ",inline"}).Draw(t, "option")
		if rapid.IntRange(0, 9).Draw(t, "odd") == 0 {
			option += ",string"
		}
		fields = append(fields, reflect.StructField{
			Name: fmt.Sprintf("%c%d", 'A'+i, rapid.IntRange(0, 1).Draw(t, "n")), Type: rapid.SampledFrom(fieldTypes).Draw(t, "type"),
			Tag: reflect.StructTag(fmt.Sprintf("json:%q", name+option)),
		})
	}
	for _, e := range rapid.SliceOfNDistinct(rapid.SampledFrom(embeddedTypes), 0, 3, func(e reflect.Type) string {
		if e.Kind() == reflect.Pointer {
			return e.Elem().Name()
		}
		return e.Name()
	}).Draw(t, "embedded") {
		name := e.Name()
		if e.Kind() == reflect.Pointer {
			name = e.Elem().Name()
		}
		tag := rapid.SampledFrom([]string{"", `json:",inline"`, `json:"x,omitempty"`, `json:"-"`}).Draw(t, "embedded tag")
		fields = append(fields, reflect.StructField{Name: name, Type: e, Anonymous: true, Tag: reflect.StructTag(tag)})
	}
	return reflect.StructOf(fields)
}

// TestCodecStructsProperty writes values of random struct types, and reads what was written and variations of it.
func TestCodecStructsProperty(t *testing.T) {
	q := apimachinery.NewQuickDecoder()
	rapid.Check(t, func(t *rapid.T) {
		typ := structType(t)
		v := reflect.New(typ)
		filler(rapid.Int64().Draw(t, "seed")).Fill(v.Interface())
		requireSame(t, v.Interface())
		requireSame(t, v.Elem().Interface())
		raw, err := library(v.Interface())
		require.NoError(t, err)
		requireSameDecode(t, q, raw, func() any { return reflect.New(typ).Interface() })
		other := structType(t)
		requireSameDecode(t, q, raw, func() any { return reflect.New(other).Interface() })
	})
}
