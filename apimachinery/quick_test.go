package apimachinery_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/bedplate/bedplate/apimachinery"
)

// requireSameDecode reads raw with the quick decoder and with Kubernetes' own, strictly and loosely, and compares
// results, strict errors and errors.
func requireSameDecode(t failer, q *apimachinery.QuickDecoder, raw []byte, fresh func() any) {
	t.Helper()
	input := slices.Clone(raw)
	want, got := fresh(), fresh()
	wantStrict, wantErr := apimachinery.Decode(raw, want)
	strict, err := q.Decode(input, got)
	clear(input) // what was read must not share memory with it
	require.Equal(t, wantErr, err, "%s", raw)
	require.Equal(t, texts(wantStrict), texts(strict), "%s", raw)
	require.Equal(t, want, got, "%s", raw)

	input = slices.Clone(raw)
	want, got = fresh(), fresh()
	wantErr = apimachinery.DecodeLoose(raw, want)
	err = q.DecodeLoose(input, got)
	clear(input)
	require.Equal(t, wantErr, err, "%s", raw)
	require.Equal(t, want, got, "%s", raw)
}

func texts(errs []error) []string {
	var out []string
	for _, e := range errs {
		out = append(out, e.Error())
	}
	return out
}

// TestQuickDecoderAgreesOnKinds fills objects of built-in kinds at random and reads their JSON both ways.
func TestQuickDecoderAgreesOnKinds(t *testing.T) {
	f := filler(7)
	q := apimachinery.NewQuickDecoder()
	for _, fresh := range append(everyKind(),
		func() apimachinery.Object { return &corev1.Service{} }, func() apimachinery.Object { return &corev1.PersistentVolume{} },
		func() apimachinery.Object { return &eventsv1.Event{} }, func() apimachinery.Object { return &appsv1.ControllerRevision{} },
		func() apimachinery.Object { return &networkingv1.NetworkPolicy{} }, func() apimachinery.Object { return &authorizationv1.SubjectAccessReview{} },
	) {
		for range 12 {
			o := fresh()
			f.Fill(o)
			raw, err := apimachinery.Encode(o)
			require.NoError(t, err)
			requireSameDecode(t, q, raw, func() any { return fresh() })
			var indented bytes.Buffer
			require.NoError(t, json.Indent(&indented, raw, " ", "\t"))
			requireSameDecode(t, q, indented.Bytes(), func() any { return fresh() })
			requireSameDecode(t, q, raw, func() any { return new(any) })
			requireSameDecode(t, q, raw, func() any { return &unstructured.Unstructured{} })
		}
	}
}

// decodeTarget has a field of each sort that the decoder treats in a way of its own.
type decodeTarget struct {
	Inner
	I8   int8                  `json:"i8"`
	I64  int64                 `json:"i64"`
	I16  int16                 `json:"i16"`
	I32  int32                 `json:"i32"`
	U16  uint16                `json:"u16"`
	U32  uint32                `json:"u32"`
	Port intstr.IntOrString    `json:"port"`
	Room resource.Quantity     `json:"room"`
	U8   uint8                 `json:"u8"`
	U64  uint64                `json:"u64"`
	F    float32               `json:"f"`
	Flag *bool                 `json:"flag"`
	Text string                `json:"text"`
	Data []byte                `json:"data"`
	List []string              `json:"list"`
	Map  map[string]string     `json:"map"`
	Maps map[Named][]Inner     `json:"maps"`
	Any  any                   `json:"any"`
	Time metav1.Time           `json:"time"`
	When *metav1.MicroTime     `json:"when"`
	Num  json.Number           `json:"num"`
	Arr  [2]int                `json:"arr"`
	Ints map[int]string        `json:"ints"`
	Loop *decodeTarget         `json:"loop"`
	Talk speaking              `json:"talk"`
	Bare struct{ metav1.Time } `json:"bare"`
	Str  struct {
		N int `json:"n,string"`
	} `json:"str"`
}

func TestQuickDecoderAgreesOnOddities(t *testing.T) {
	q := apimachinery.NewQuickDecoder()
	values := []string{"null", "true", "false", "0", "-0", "127", "128", "-129", "255", "256", "1.5", "1e3", "1e", "-1E-2", "65535", "-32769", "4294967296", "2147483648", "01", "-", "1.", "9223372036854775807", "9223372036854775808", "-9223372036854775808",
		"18446744073709551615", "1e400", "123456789012345678901", `""`, `"x"`, `"\u00e9\n\""`, `"\ud83e\udd8a"`, `"\ud800"`, `"\ud800\u0041"`, `"\x"`, "\"\xff\"", "\"\x01\"", `"é"`, `"YWJj"`, `"YW\nJj"`, `"YWJ"`,
		`"2024-01-02T03:04:05Z"`, `"2024-01-02T03:04:05.123456+02:00"`, `"\u0032024-01-02T03:04:05Z"`, "[]", "{}", "[null]", `["a","b","c"]`, `["a",1]`, "[1,2,3]", `{"a":"b"}`, `{"a":null}`, `{"a":"b","a":"c"}`,
		`{"a":[{"A":"x"}]}`, `{"A":"x"}`, `{"1":"x"}`, `{"n":"5"}`, `{"n":5}`, `{"a":{"b":[1,2.0,{"c":1e2}]}}`, `{"a":{"b":1,"b":2}}`, `{"i8":1,"unknown":{"x":[1,"\u00e9"]}}`, `{"i8":1,"i8":2}`, `{"I8":1}`, `{"\u00698":1}`,
		"[1,]", "{,}", `{"a"}`, `{"a":}`, "{", "[", `"`, "tru", "nul", "\"\\", "\"\\u12", "", " ", "1 2", "\x00"}
	fields := []string{"i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64", "port", "room", "f", "flag", "text", "data", "list", "map", "maps", "any", "time", "when", "num", "arr", "ints", "loop", "talk", "bare", "str", "b", "A", "unknown", ""}
	fresh := func() any { return &decodeTarget{} }
	for _, v := range values {
		requireSameDecode(t, q, []byte(v), fresh)
		requireSameDecode(t, q, []byte(v), func() any { return new(any) })
		requireSameDecode(t, q, []byte(v), func() any { return new(map[string]any) })
		for _, f := range fields {
			requireSameDecode(t, q, []byte(`{"`+f+`":`+v+`}`), fresh)
			requireSameDecode(t, q, []byte(" { \""+f+"\" :\n"+v+"\t}\r\n"), fresh)
			requireSameDecode(t, q, []byte(`{"loop":{"`+f+`":`+v+`,"text":"x"}}`), fresh)
		}
	}
	for _, depth := range []int{100, 499, 501, 600} {
		requireSameDecode(t, q, []byte(strings.Repeat(`{"loop":`, depth)+"{}"+strings.Repeat("}", depth)), fresh)
	}
	for _, depth := range []int{100, 499, 500, 501, 9000, 11000} {
		requireSameDecode(t, q, []byte(strings.Repeat("[", depth)+strings.Repeat("]", depth)), func() any { return new(any) })
		requireSameDecode(t, q, []byte(`{"unknown":`+strings.Repeat("[", depth)+strings.Repeat("]", depth)+`}`), fresh)
	}
}

// TestQuickDecoderAgreesOnLargeStructs reads structs with more fields than the decoder tells apart.
func TestQuickDecoderAgreesOnLargeStructs(t *testing.T) {
	q := apimachinery.NewQuickDecoder()
	for _, n := range []int{63, 64, 65, 127, 128, 129, 200} {
		var fields []reflect.StructField
		for i := range n {
			fields = append(fields, reflect.StructField{Name: fmt.Sprintf("F%d", i), Type: reflect.TypeFor[int]()})
		}
		typ := reflect.StructOf(fields)
		fresh := func() any { return reflect.New(typ).Interface() }
		for _, raw := range []string{fmt.Sprintf(`{"F0":1,"F%d":2}`, n-1), fmt.Sprintf(`{"F%d":1,"F%d":2}`, n-1, n-1), `{"F0":1,"F64":1,"F128":1}`} {
			requireSameDecode(t, q, []byte(raw), fresh)
		}
	}
}

// TestQuickDecoderAllocates compares what a read of a pod allocates with Kubernetes' own decoder, and so shows that it
// takes the quick way.
func TestQuickDecoderAllocates(t *testing.T) {
	q := apimachinery.NewQuickDecoder()
	raw, err := library(samplePod())
	require.NoError(t, err)
	own := testing.AllocsPerRun(100, func() { _, _ = apimachinery.Decode(raw, &corev1.Pod{}) })
	require.Less(t, testing.AllocsPerRun(100, func() { _, _ = q.Decode(raw, &corev1.Pod{}) }), own/2)
}

// TestQuickDecoderConcurrently reads with one decoder from several goroutines, from its first use on.
func TestQuickDecoderConcurrently(t *testing.T) {
	q := apimachinery.NewQuickDecoder()
	want := samplePod()
	raw, err := library(want)
	require.NoError(t, err)
	require.NoError(t, apimachinery.DecodeLoose(raw, want))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				var p corev1.Pod
				if strict, err := q.Decode(raw, &p); err != nil || len(strict) > 0 || !reflect.DeepEqual(want.Spec.Containers, p.Spec.Containers) {
					t.Errorf("%v, %v", strict, err)
				}
			}
		})
	}
	wg.Wait()
}

// TestQuickDecoderForgets reads into an object that was used before.
func TestQuickDecoderForgets(t *testing.T) {
	q := apimachinery.NewQuickDecoder()
	for _, body := range []string{`{"metadata":{"name":"b"}}`, `{"metadata":{"name":"b"},"unknown":1}`} {
		p := samplePod()
		_, err := q.Decode([]byte(body), p)
		require.NoError(t, err)
		if body == `{"metadata":{"name":"b"}}` {
			require.Equal(t, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "b"}}, p)
		}
	}
	_, err := q.Decode([]byte(`{}`), corev1.Pod{})
	require.Error(t, err)
	require.Error(t, q.DecodeLoose([]byte(`{}`), (*corev1.Pod)(nil)))
	require.Error(t, q.DecodeLoose([]byte(`{}`), nil))
}

func FuzzQuickDecoder(f *testing.F) {
	for _, name := range sampleNames {
		raw, err := library(samples()[name])
		require.NoError(f, err)
		f.Add(raw)
	}
	for _, s := range []string{`{"i8":1,"text":"\u00e9","loop":{"maps":{"a":[{"A":"x","b":2}]}},"any":[1,2.5,null]}`, `{"data":"YWJj","time":"2024-01-02T03:04:05Z","arr":[1,2],"str":{"n":"5"}}`, `null`, `{"a":{"a":1,"a":2}}`} {
		f.Add([]byte(s))
	}
	q := apimachinery.NewQuickDecoder()
	f.Fuzz(func(t *testing.T, raw []byte) {
		requireSameDecode(t, q, raw, func() any { return &decodeTarget{} })
		requireSameDecode(t, q, raw, func() any { return &corev1.Pod{} })
		requireSameDecode(t, q, raw, func() any { return new(any) })
	})
}

// FuzzEncode writes what it reads, whatever that is.
func FuzzEncode(f *testing.F) {
	for _, s := range oddStrings {
		f.Add([]byte(s))
	}
	f.Add([]byte(`{"i8":1,"text":"\u00e9","loop":{"maps":{"a":[{"A":"x","b":2}]}},"any":[1,2.5e30,null,"\u2028"]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		requireSame(t, string(raw))
		requireSame(t, map[string]string{string(raw): string(raw)})
		requireSame(t, malformed{string(raw)})
		var target decodeTarget
		if json.Unmarshal(raw, &target) == nil {
			requireSame(t, target)
			requireSame(t, &target)
		}
	})
}
