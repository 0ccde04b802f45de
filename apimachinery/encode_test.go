package apimachinery_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"math/rand"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/randfill"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/kinds/apps"
	"github.com/bedplate/bedplate/apimachinery/kinds/coordination"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
	"github.com/bedplate/bedplate/apimachinery/kinds/rbac"
)

// library is what Encode must equal.
func library(o any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(o); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

type failer interface {
	require.TestingT
	Helper()
}

// requireSame compares Encode and AppendEncode with encoding/json, errors included.
func requireSame(t failer, o any) {
	t.Helper()
	want, wantErr := library(o)
	got, err := apimachinery.Encode(o)
	appended, appendErr := apimachinery.AppendEncode([]byte("before"), o)
	if wantErr != nil {
		require.ErrorContains(t, err, wantErr.Error())
		require.ErrorContains(t, appendErr, wantErr.Error())
		require.Equal(t, "before", string(appended))
		return
	}
	require.NoError(t, err, "%s", want)
	require.Equal(t, string(want), string(got))
	require.NoError(t, appendErr)
	require.Equal(t, "before"+string(want), string(appended))
}

var oddStrings = []string{"", "plain", "with \"quotes\" and \\", "<a href=\"x\">&amp;</a>", "tab\tnew\nline\r\b\f\x00\x1f\x7f", "Grüße", "日本語", "\u2028 and \u2029",
	"invalid \xff utf8 \xc3", "\xed\xa0\x80", "🦊", "exactly8", "sixteen bytes ok", "quote at nine\"", "\xe2\x80", strings.Repeat("long ", 100) + "é"}

// filler fills objects at random, with strings and values that are awkward in JSON.
func filler(seed int64) *randfill.Filler {
	return randfill.New().NilChance(0.3).NumElements(0, 3).MaxDepth(12).RandSource(rand.NewSource(seed)).Funcs(
		func(s *string, c randfill.Continue) { *s = oddStrings[c.Intn(len(oddStrings))] },
		func(a *any, c randfill.Continue) {
			*a = []any{nil, int64(7), -2.5e-9, "<\xff", true, map[string]any{"b": []any{}, "a": nil}, []any{map[string]any{}}}[c.Intn(7)]
		},
		func(f *metav1.FieldsV1, c randfill.Continue) {
			*f = *metav1.NewFieldsV1([]string{`{"f:a":{}}`, ` { "f:a" : {} } `, `{"f:\u00e9":{"k:{\"a\":1}":{}}}`, `{}`}[c.Intn(4)])
		},
		func(r *runtime.RawExtension, c randfill.Continue) {
			r.Raw = [][]byte{nil, []byte(`{"x":1}`), []byte("{\n  \"x\": [1, 2.5e3, \"<\"]\n}")}[c.Intn(3)]
		},
		func(m *metav1.Time, c randfill.Continue) {
			*m = []metav1.Time{{}, metav1.Unix(c.Int63n(1<<38), c.Int63n(1e9)), metav1.NewTime(time.Unix(c.Int63n(1<<32), 0).In(time.FixedZone("x", 3600)))}[c.Intn(3)]
		},
		func(m *metav1.MicroTime, c randfill.Continue) {
			*m = []metav1.MicroTime{{}, metav1.NewMicroTime(time.Unix(c.Int63n(1<<32), c.Int63n(1e9)))}[c.Intn(2)]
		},
		func(q *resource.Quantity, c randfill.Continue) {
			texts := []string{"0", "1", "100m", "1.5Gi", "-3", "12e6", "3E2", "128Mi", "1Ki", "100000000000000000000", "1n", "0.5", "1048576Ki", "1000"}
			*q = resource.MustParse(texts[c.Intn(len(texts))])
			if c.Bool() {
				q.Add(resource.MustParse(texts[c.Intn(len(texts))])) // which drops the text that it was read from
			}
		},
		func(i *intstr.IntOrString, c randfill.Continue) {
			*i = []intstr.IntOrString{intstr.FromInt32(c.Int31() - 1<<30), intstr.FromString("25%"), intstr.FromString("<25&%>"), {}}[c.Intn(4)]
		},
	)
}

// everyKind returns a maker for each Go type that the built-in kinds have.
func everyKind() []func() apimachinery.Object {
	var all []func() apimachinery.Object
	for _, resources := range [][]apimachinery.Resource{core.Resources(), apps.Resources(), rbac.Resources(), coordination.Resources()} {
		for _, r := range resources {
			all = append(all, r.New)
			for _, v := range r.Views {
				if v.New != nil {
					all = append(all, v.New)
				}
			}
		}
	}
	return all
}

func TestEncodeEqualsLibraryOnKinds(t *testing.T) {
	f := filler(11)
	for _, fresh := range everyKind() {
		requireSame(t, fresh())
		for range 60 {
			o := fresh()
			f.Fill(o)
			requireSame(t, o)
		}
	}
	for range 60 {
		for _, o := range []any{&metav1.Status{}, &metav1.Table{}, &metav1.APIResourceList{}, &metav1.ListOptions{}, &metav1.DeleteOptions{}, &metav1.PartialObjectMetadataList{}, &metav1.WatchEvent{}} {
			f.Fill(o)
			requireSame(t, o)
		}
	}
	for _, name := range sampleNames {
		requireSame(t, samples()[name])
	}
}

type (
	byValue   struct{ s string }
	byPointer struct{ s string }
	byText    struct{ s string }
	textKey   struct{ n int }
	intText   int
	namedText string
	failing   struct{}
	malformed struct{ s string }
	zeroish   struct{ N int }
	zeroPtr   struct{ N int }
	mapJSON   map[string]int
	octet     byte
	speaking  interface{ Speak() string }
	marshaler interface{ MarshalJSON() ([]byte, error) }
	speaker   struct{ Word string }

	Inner struct {
		A string
		B int `json:"b,omitempty"`
	}
	Rival struct {
		A string
		C string `json:"C"`
	}
	Untagged struct{ C string }
	hidden   struct{ Shown, Also string }
	Deep     struct {
		Inner
		D []string
	}
	Left struct {
		Untagged
		L string
	}
	Right struct {
		Untagged
		R string
	}
	Named   string
	Promote struct{ metav1.Time }
	Loop    struct {
		Next *Loop          `json:"next,omitempty"`
		All  map[string]any `json:"all,omitempty"`
		List []Loop         `json:"list,omitempty"`
	}
)

func (v byValue) MarshalJSON() ([]byte, error)    { return json.Marshal("v:" + v.s) }
func (v *byPointer) MarshalJSON() ([]byte, error) { return []byte(" [ 1 , \"<" + v.s + ">\" ] "), nil }
func (v byText) MarshalText() ([]byte, error)     { return []byte("<t>" + v.s), nil }
func (k textKey) MarshalText() ([]byte, error)    { return []byte(strings.Repeat("k", k.n)), nil }
func (i intText) MarshalText() ([]byte, error)    { return []byte("i"), nil }
func (s namedText) MarshalText() ([]byte, error)  { return []byte("n:" + string(s)), nil }
func (failing) MarshalJSON() ([]byte, error)      { return nil, errors.New("on purpose") }
func (m malformed) MarshalJSON() ([]byte, error)  { return []byte(m.s), nil }
func (z zeroish) IsZero() bool                    { return z.N == 7 }
func (z *zeroPtr) IsZero() bool                   { return z.N == 7 }
func (m mapJSON) MarshalJSON() ([]byte, error)    { return []byte(`"map"`), nil }
func (o *octet) MarshalText() ([]byte, error)     { return []byte{'o'}, nil }
func (s speaker) Speak() string                   { return s.Word }

// oddities are values that encoding/json treats in some way of its own.
func oddities() map[string]any {
	one, word, nothing := 1, "w", (*int)(nil)
	now := metav1.Unix(1700000000, 0)
	circle := &Loop{}
	circle.Next = circle
	ring := map[string]any{}
	ring["ring"] = []any{ring}
	deep := &Loop{}
	for range 3000 {
		deep = &Loop{Next: deep}
	}
	return map[string]any{
		"nil": nil, "nil pointer": nothing, "pointer": &one, "string": "<\u2028\xff>", "int": 3, "uint8": uint8(9), "float": 1e21, "float32": float32(3.4e38),
		"nan": math.NaN(), "infinite": map[string]any{"a": math.Inf(1)}, "small": 1e-7, "smaller": 1.5e-11, "minus zero": math.Copysign(0, -1),
		"channel": make(chan int), "function": map[string]any{"f": func() {}}, "complex": complex(1, 2),
		"bytes": []byte("\x00\xff"), "no bytes": []byte(nil), "empty bytes": []byte{}, "octets": []octet{1, 2}, "byte array": [3]byte{1, 2, 3}, "empty array": [0]int{},
		"number": json.Number("1.50"), "bad number": json.Number("1x"), "raw": json.RawMessage(` {"a" : 1} `), "bad raw": json.RawMessage(`{`), "nil raw": json.RawMessage(nil),
		"map of ints": map[int]string{10: "a", 9: "b"}, "map of text": map[textKey]int{{3}: 1, {1}: 2}, "map of bools": map[bool]int{true: 1}, "nil map": map[string]int(nil),
		"map of named": map[namedText]byValue{"b": {"1"}, "a": {"2"}}, "map of pointers": map[Named]*byPointer{"x": {"1"}, "n": nil}, "pointer methods in map": map[string]byPointer{"x": {"1"}},
		"map with its own": struct{ M, N mapJSON }{M: mapJSON{}}, "nested maps": map[string]map[Named][]Inner{"a": {"b": {{A: "c"}}}, "z": nil}, "invalid keys": map[string]string{"\xff": "a", "\xfe": "b"},
		"by value": byValue{"x"}, "by pointer, not addressable": byPointer{"x"}, "by pointer": &byPointer{"x"}, "in slice": []byPointer{{"x"}}, "nil by pointer": (*byPointer)(nil),
		"in struct": struct{ V byPointer }{byPointer{"y"}}, "in pointed struct": &struct{ V byPointer }{byPointer{"y"}}, "in array": [1]byPointer{{"a"}}, "in pointed array": &[1]byPointer{{"a"}},
		"text": byText{"x"}, "text pointer": &byText{"y"}, "named text": namedText("x"), "int text": []intText{1}, "address": netip.MustParseAddr("192.0.2.1"),
		"failing": failing{}, "failing inside": map[string]any{"a": []any{failing{}}}, "malformed": malformed{"{]"}, "two values": malformed{"1 2"}, "empty": malformed{""}, "invalid inside": malformed{"\"\xff\""},
		"control inside": malformed{"\"\x01\""}, "bad escape": malformed{`"\x"`}, "bad unicode": malformed{`"\u12g4"`}, "leading zero": malformed{"01"}, "spaces": malformed{"\t{ \"a\" : [ ] , \"b\" : -1.5E+3 }\n"},
		"html inside": malformed{`"<&>"`}, "bad string type": intstr.IntOrString{Type: 5}, "html in port": intstr.FromString("<"),
		"year": metav1.NewTime(time.Date(12345, 1, 1, 0, 0, 0, 0, time.UTC)), "bad time": time.Date(12345, 1, 1, 0, 0, 0, 0, time.UTC), "time": now.Time, "promoted": Promote{now}, "promoted nil": []*Promote{nil, {now}},
		"duration": metav1.Duration{Duration: time.Minute}, "object": &unstructured.Unstructured{Object: map[string]any{"kind": "X", "apiVersion": "v1", "a": int64(1)}},
		"interfaces": []any{1, int8(2), "a", nil, &word, []int{1}, map[string]string{"b": "1", "a": "<"}, speaker{"s"}, &Inner{}, Named("n"), json.Number("1"), uint64(math.MaxUint64)},
		"numbers": struct {
			A int8
			B int16
			C uint32
			D int
			E uint16
			F uint
		}{-128, -32768, math.MaxUint32, -1, 65535, 5},
		"failing in map": map[Named]failing{"a": {}}, "nil untyped": []any{map[string]any(nil), []any(nil), map[string]string(nil)}, "twice embedded": struct {
			Left
			Right
		}{Left{Untagged{"c"}, "l"}, Right{R: "r"}},
		"deep slices": deepSlices(800), "large map": largeMap(100), "deep maps": deepMaps(800),
		"speaking": []speaking{speaker{"a"}, &speaker{"b"}, nil}, "marshaler": []marshaler{byValue{"a"}, nil, &byPointer{"b"}},
		"embedded": Deep{Inner: Inner{A: "a", B: 1}, D: []string{}}, "deep": deep, "circle": circle, "ring": ring,
		"rivals": struct {
			Inner
			Rival
			Untagged
		}{Inner{A: "i"}, Rival{"r", "c"}, Untagged{"u"}},
		"shadow": struct {
			A int
			Inner
		}{1, Inner{A: "i", B: 2}},
		"embedded pointer": struct{ *Inner }{&Inner{A: "i"}}, "embedded nil": struct {
			*Inner
			X int
		}{X: 1},
		"hidden": struct {
			hidden
			secret int
		}{hidden{"a", "b"}, 1},
		"embedded named": struct {
			Named
			Inner `json:"in"`
		}{"n", Inner{A: "q"}},
		"tags": struct {
			Skipped string `json:"-"`
			Dash    string `json:"-,"`
			Odd     string `json:"a<b&c"`
			Bad     string `json:"with\"quote"`
			Empty   string `json:",omitempty"`
			Unknown string `json:"é,whatever"`
		}{"s", "d", "o", "b", "", "u"},
		"quoted": struct {
			I int      `json:",string"`
			S string   `json:"s,string"`
			P *float64 `json:"p,string"`
			L []int    `json:"l,string"`
		}{I: 1, S: "<\""},
		"omitempty": struct {
			A [0]int         `json:"a,omitempty"`
			B [1]int         `json:"b,omitempty"`
			C Inner          `json:"c,omitempty"`
			D any            `json:"d,omitempty"`
			E float64        `json:"e,omitempty"`
			F float32        `json:"f,omitempty"`
			G map[string]int `json:"g,omitempty"`
			H []int          `json:"h,omitempty"`
			I uint16         `json:"i,omitempty"`
			J *int           `json:"j,omitempty"`
			K mapJSON        `json:"k,omitempty"`
			L speaking       `json:"l,omitempty"`
			M bool           `json:"m,omitempty"`
			N uintptr        `json:"n,omitempty"`
		}{E: math.Copysign(0, -1), G: map[string]int{}, H: []int{}},
		"omitzero": &struct {
			A zeroish   `json:"a,omitzero"`
			B zeroish   `json:"b,omitzero"`
			C *zeroish  `json:"c,omitzero"`
			D zeroPtr   `json:"d,omitzero"`
			E *zeroPtr  `json:"e,omitzero"`
			F time.Time `json:"f,omitzero"`
			G Inner     `json:"g,omitzero"`
			H []int     `json:"h,omitzero"`
			I int       `json:"i,omitzero,omitempty"`
			J *int      `json:"j,omitzero"`
		}{A: zeroish{7}, D: zeroPtr{7}, E: &zeroPtr{7}, H: []int{}},
		"omitzero interface": struct {
			A interface{ IsZero() bool } `json:"a,omitzero"`
			B any                        `json:"b,omitzero"`
		}{A: (*zeroish)(nil)},
	}
}

type nest []nest

func deepSlices(depth int) nest {
	s := nest{}
	for range depth {
		s = nest{s}
	}
	return s
}

type mapNest map[Named]mapNest

func deepMaps(depth int) mapNest {
	m := mapNest{}
	for range depth {
		m = mapNest{"m": m}
	}
	return m
}

func largeMap(n int) map[Named][]int {
	m := map[Named][]int{}
	for i := range n {
		m[Named(strings.Repeat("x", i))] = []int{i}
	}
	return m
}

func TestEncodeEqualsLibraryOnOddities(t *testing.T) {
	for name, o := range oddities() {
		t.Run(name, func(t *testing.T) {
			requireSame(t, o)
			requireSame(t, &o)
			requireSame(t, []any{o})
			requireSame(t, map[string]any{"o": o})
		})
	}
}

// TestEncodeReadsOnly writes one object from several goroutines; the race detector sees whether the walk writes to it.
func TestEncodeReadsOnly(t *testing.T) {
	p, q := samplePod(), resource.MustParse("1Gi")
	q.Add(resource.MustParse("1"))
	p.Spec.Containers[0].Resources.Limits["memory"] = q
	want, err := library(p)
	require.NoError(t, err)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				got, err := apimachinery.Encode(p)
				if err != nil || !bytes.Equal(want, got) {
					t.Errorf("%s, %v", got, err)
				}
			}
		})
	}
	wg.Wait()
}

// TestEncodeAllocates compares what a write of a pod allocates with encoding/json, and so shows that it takes the
// quick way.
func TestEncodeAllocates(t *testing.T) {
	p := samplePod()
	buffer := make([]byte, 0, 4096)
	own := testing.AllocsPerRun(100, func() { _, _ = library(p) })
	require.Less(t, testing.AllocsPerRun(100, func() { _, _ = apimachinery.AppendEncode(buffer, p) }), own/3)
}
