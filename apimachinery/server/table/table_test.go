package table_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/server/table"
)

var born = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func now() time.Time { return born.Add(5*time.Minute + 3*time.Second) }

func configMap(t require.TestingT) (*corev1.ConfigMap, []byte) {
	o := &corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{Kind: "ConfigMap", APIVersion: "v1"},
		ObjectMeta: metav1.ObjectMeta{Name: "c", Namespace: "ns", ResourceVersion: "7", CreationTimestamp: metav1.NewTime(born), Labels: map[string]string{"a": `b"\{`}},
		Data:       map[string]string{"metadata": `{"x`},
	}
	raw, err := apimachinery.Encode(o)
	require.NoError(t, err)
	return o, raw
}

func TestDefaultColumns(t *testing.T) {
	o, raw := configMap(t)
	r, err := table.New(&apimachinery.View{}, now)
	require.NoError(t, err)
	for _, c := range []struct {
		include metav1.IncludeObjectPolicy
		object  string
	}{
		{"", `{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":` + meta(t, raw) + `}`},
		{metav1.IncludeMetadata, `{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":` + meta(t, raw) + `}`},
		{metav1.IncludeNone, `null`},
		{metav1.IncludeObject, string(raw)},
	} {
		b, err := r.AppendObject(nil, o, raw, table.Options{Include: c.include})
		require.NoError(t, err)
		var got metav1.Table
		require.NoError(t, json.Unmarshal(b, &got))
		require.Equal(t, "7", got.ResourceVersion)
		require.Equal(t, "name", got.ColumnDefinitions[0].Format)
		require.Equal(t, []any{"c", "5m3s"}, got.Rows[0].Cells)
		require.Contains(t, string(b), `"object":`+c.object+`}`)
	}
	b, err := r.AppendObject(nil, o, raw, table.Options{NoHeaders: true, Version: "v1beta1"})
	require.NoError(t, err)
	require.Contains(t, string(b), `"apiVersion":"meta.k8s.io/v1beta1","metadata":{"resourceVersion":"7"},"columnDefinitions":null,"rows":[`)
	require.True(t, json.Valid(b))
}

func meta(t require.TestingT, raw []byte) string {
	m, err := table.Metadata(raw)
	require.NoError(t, err)
	return string(m)
}

func TestCells(t *testing.T) {
	column := func(v any) apimachinery.Column {
		return apimachinery.Column{TableColumnDefinition: metav1.TableColumnDefinition{Name: fmt.Sprintf("%T", v)}, Cell: func(apimachinery.Object) any { return v }}
	}
	values := []any{"x", "q\"\n<é>", 3, int32(4), int64(1 << 60), true, nil, metav1.Time{}, metav1.NewTime(born), (*metav1.Time)(nil), born, []string{"l"}}
	v := &apimachinery.View{}
	for _, value := range values {
		v.Columns = append(v.Columns, column(value))
	}
	r, err := table.New(v, now)
	require.NoError(t, err)
	o, raw := configMap(t)
	row, err := r.AppendRow(nil, o, raw, table.Options{Include: metav1.IncludeNone})
	require.NoError(t, err)
	want := `{"cells":["x","q\"\n<é>",3,4,1152921504606846976,true,null,"<unknown>","5m3s","<unknown>","5m3s",["l"]],"object":null}`
	require.JSONEq(t, want, string(row))
	_, err = table.New(&apimachinery.View{Columns: []apimachinery.Column{{}}}, nil)
	require.Error(t, err)
}

func TestLists(t *testing.T) {
	o, raw := configMap(t)
	r, err := table.New(&apimachinery.View{}, now)
	require.NoError(t, err)
	b, err := r.AppendHead(nil, metav1.ListMeta{ResourceVersion: "9", Continue: "tok"}, table.Options{})
	require.NoError(t, err)
	for i := range 2 {
		if i > 0 {
			b = append(b, ',')
		}
		b, err = r.AppendRow(b, o, raw, table.Options{})
		require.NoError(t, err)
	}
	var got metav1.Table
	require.NoError(t, json.Unmarshal(append(b, table.Tail...), &got))
	require.Len(t, got.Rows, 2)
	require.Equal(t, "tok", got.Continue)
}

// TestMetadataIsCutExactly compares with encoding/json, over any members in any order and spacing.
func TestMetadataIsCutExactly(t *testing.T) {
	text := rapid.StringMatching(`[a-z"\\{}\[\],: ]{0,8}`)
	rapid.Check(t, func(t *rapid.T) {
		members := rapid.MapOfN(rapid.OneOf(text, rapid.Just("metadata")), rapid.OneOf(
			rapid.Map(text, func(s string) any { return s }),
			rapid.Map(rapid.Int(), func(n int) any { return n }),
			rapid.Map(rapid.SliceOfN(text, 0, 3), func(s []string) any { return map[string]any{"metadata": s, "x": nil} }),
			rapid.Map(rapid.SliceOfN(rapid.Bool(), 0, 3), func(s []bool) any { return s }),
		), 0, 5).Draw(t, "members")
		raw, err := json.Marshal(members)
		require.NoError(t, err)
		if rapid.Bool().Draw(t, "indented") {
			var b bytes.Buffer
			require.NoError(t, json.Indent(&b, raw, "", "  "))
			raw = b.Bytes()
		}
		got, err := table.Metadata(raw)
		want, there := members["metadata"]
		if !there {
			require.Error(t, err)
			return
		}
		require.NoError(t, err)
		w, err := json.Marshal(want)
		require.NoError(t, err)
		require.JSONEq(t, string(w), string(got))
	})
}

func FuzzMetadata(f *testing.F) {
	for _, s := range []string{`{"metadata":{}}`, `{"a":"\\\"","metadata":1`, `{"metadata"`, `[`, `{"metadata":`, `{"x":}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := table.Metadata(raw)
		if err == nil && json.Valid(raw) {
			require.True(t, json.Valid(m), "%q of %q", m, raw)
		}
	})
}

func ExampleRenderer_AppendRow() {
	r, err := table.New(&apimachinery.View{Columns: []apimachinery.Column{table.Name(), {
		TableColumnDefinition: metav1.TableColumnDefinition{Name: "Data", Type: "string"},
		Cell:                  func(o apimachinery.Object) any { return len(o.(*corev1.ConfigMap).Data) },
	}}}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	o := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "settings"}, Data: map[string]string{"k": "v"}}
	row, err := r.AppendRow(nil, o, []byte(`{"metadata":{"name":"settings"}}`), table.Options{})
	fmt.Println(string(row), err)
	// Output:
	// {"cells":["settings",1],"object":{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"settings"}}} <nil>
}

func BenchmarkRow(b *testing.B) {
	o, raw := configMap(b)
	r, err := table.New(&apimachinery.View{}, now)
	require.NoError(b, err)
	var buf []byte
	for b.Loop() {
		if buf, err = r.AppendRow(buf[:0], o, raw, table.Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
