package apimachinery_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"pgregory.net/rapid"
	kjson "sigs.k8s.io/json"

	"github.com/bedplate/bedplate/apimachinery"
)

// values draws small JSON values over few names, so that they collide.
func values() *rapid.Generator[any] {
	scalar := rapid.OneOf(
		rapid.Just[any](nil), rapid.Just[any](true), rapid.Just[any]("x\"<é"), rapid.Just[any](1.5),
		rapid.Map(rapid.Int64Range(-9, 9), func(n int64) any { return n }),
	)
	name := rapid.SampledFrom([]string{"a", "b", "c/d", "e~f", "ü"})
	level := scalar
	for range 3 {
		below := level
		level = rapid.OneOf(scalar,
			rapid.Map(rapid.MapOfN(name, below, 0, 3), func(m map[string]any) any { return m }),
			rapid.Map(rapid.SliceOfN(below, 0, 3), func(l []any) any { return l }),
		)
	}
	return level
}

func object() *rapid.Generator[map[string]any] {
	return rapid.MapOfN(rapid.SampledFrom([]string{"a", "b", "c/d", "e~f", "ü"}), values(), 0, 4)
}

func encode(t require.TestingT, v any) []byte {
	b, err := json.Marshal(v)
	require.NoError(t, err)
	return b
}

func TestMergePatchAgrees(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		doc, change := encode(t, object().Draw(t, "doc")), encode(t, object().Draw(t, "patch"))
		var d, p any
		require.NoError(t, json.Unmarshal(doc, &d))
		require.NoError(t, json.Unmarshal(change, &p))
		want := encode(t, merged(d, p))
		got, err := apimachinery.MergePatch(doc, change)
		require.NoError(t, err)
		require.JSONEq(t, string(want), string(got))
	})
}

// merged is the algorithm of RFC 7396, as it stands there.
func merged(target, patch any) any {
	p, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	t, ok := target.(map[string]any)
	if !ok {
		t = map[string]any{}
	}
	for name, v := range p {
		if v == nil {
			delete(t, name)
		} else {
			t[name] = merged(t[name], v)
		}
	}
	return t
}

func TestJSONPatchAgrees(t *testing.T) {
	paths := rapid.SampledFrom([]string{"/a", "/b", "/a/b", "/c~1d", "/e~0f/a", "/a/0", "/a/-", "/a/1/b", "/ü", "/b/b/b"})
	operation := rapid.Custom(func(t *rapid.T) map[string]any {
		op := map[string]any{"op": rapid.SampledFrom([]string{"add", "remove", "replace", "move", "copy", "test"}).Draw(t, "op"), "path": paths.Draw(t, "path")}
		switch op["op"] {
		case "add", "replace", "test":
			op["value"] = values().Draw(t, "value")
		case "move", "copy":
			op["from"] = paths.Draw(t, "from")
		}
		return op
	})
	rapid.Check(t, func(t *rapid.T) {
		doc := encode(t, object().Draw(t, "doc"))
		ops := rapid.SliceOfN(operation, 1, 4).Draw(t, "ops")
		patch, err := jsonpatch.DecodePatch(encode(t, ops))
		require.NoError(t, err)
		got, err := apimachinery.JSONPatch(doc, encode(t, ops), 100, 1<<20)
		want, wantErr := theirs(patch, doc)
		if err != nil || wantErr != nil {
			return // they differ in what they forgive; what both accept must be equal
		}
		require.JSONEq(t, string(want), string(got), "%s", encode(t, ops))
	})
}

// theirs applies a patch by the library that Kubernetes uses, which panics where a test compares lists with nulls.
func theirs(p jsonpatch.Patch, doc []byte) (out []byte, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	return p.Apply(doc)
}

func TestJSONPatch(t *testing.T) {
	for _, c := range []struct{ doc, patch, want, err string }{
		{`{"a":[1,2]}`, `[{"op":"add","path":"/a/1","value":9}]`, `{"a":[1,9,2]}`, ""},
		{`{"a":[1,2]}`, `[{"op":"add","path":"/a/-","value":9}]`, `{"a":[1,2,9]}`, ""},
		{`{"a":{"b":1}}`, `[{"op":"move","from":"/a/b","path":"/c"}]`, `{"a":{},"c":1}`, ""},
		{`{"a":{"b":1}}`, `[{"op":"move","from":"/a","path":"/a/b"}]`, "", "into itself"},
		{`{"a":9007199254740993}`, `[{"op":"copy","from":"/a","path":"/b"}]`, `{"a":9007199254740993,"b":9007199254740993}`, ""},
		{`{}`, `[{"op":"replace","path":"/a","value":1}]`, "", `no member "a"`},
		{`{}`, `[{"op":"remove","path":""}]`, "", "can't be removed"},
		{`{}`, `[{"op":"add","path":"a","value":1}]`, "", "does not begin with a slash"},
		{`{}`, `[{"op":"add","path":"/a"}]`, "", "the value is missing"},
		{`{"a":[1]}`, `[{"op":"add","path":"/a/01","value":1}]`, "", `no index "01"`},
		{`{"a":1}`, `[{"op":"test","path":"/a","value":1.0}]`, `{"a":1}`, ""},
		{`{"a":{"x":"` + strings.Repeat("x", 100) + `"}}`, `[{"op":"copy","from":"/a","path":"/b"},{"op":"copy","from":"/a","path":"/c"}]`, "", "outgrow"},
	} {
		got, err := apimachinery.JSONPatch([]byte(c.doc), []byte(c.patch), 10, 300)
		if c.err != "" {
			require.ErrorContains(t, err, c.err)
			continue
		}
		require.NoError(t, err, c.patch)
		require.JSONEq(t, c.want, string(got))
	}
}

// TestQuickDecoderAgrees holds the quick decoder against Kubernetes' own, on good input and bad.
func TestQuickDecoderAgrees(t *testing.T) {
	q := apimachinery.NewQuickDecoder()
	type loose = apimachinery.Typed[map[string]any, struct {
		N *int64 `json:"n,omitempty"`
		F float64
		B []byte
	}]
	for _, s := range []string{
		`{}`, `null`, `[]`, `{"metadata":{"name":"a","labels":{"a":"b"}}}`, `{"metadata":{"name":"a","name":"b"}}`,
		`{"Metadata":{"name":"a"}}`, `{"kind":"Pod","apiVersion":"v1","metadata":{"creationTimestamp":null,"generation":1.0}}`,
		`{"metadata":{"creationTimestamp":"2024-01-02T03:04:05Z","generation":3,"managedFields":[{"fieldsV1":{"f:a":{}}}]}}`,
		`{"spec":{"containers":[{"name":"a","ports":[{"containerPort":1}],"resources":{"limits":{"cpu":"1","memory":"1Gi"}}}]}}`,
		`{"spec":{"containers":null,"nodeSelector":null,"hostNetwork":null,"priority":null}}`,
		`{"spec":{"a":1,"b":1.5,"c":[1,{"d":9007199254740993}],"e":null}}`, `{"status":{"n":9007199254740993,"F":1e3,"B":"aGk="}}`,
		`{"status":{"n":1e3}}`, `{"status":{"n":"1"}}`, `{"spec":{"x":"\u00e9\ud83d\ude00"}}`, "{\"spec\":{\"x\":\"\xff\"}}", `{"spec":}`, ``,
		`{"spec":{"containers":[{"livenessProbe":{"httpGet":{"port":"http"}}},{"livenessProbe":{"httpGet":{"port":80}}}]}}`, `{"nonsense":1}`, `{} {}`,
	} {
		for _, fresh := range []func() any{func() any { return &corev1.Pod{} }, func() any { return &loose{} }, func() any { return &corev1.ConfigMap{} }} {
			want, got := fresh(), fresh()
			wantStrict, wantErr := kjson.UnmarshalStrict([]byte(s), want)
			strict, err := q.Decode([]byte(s), got)
			require.Equal(t, wantErr == nil, err == nil, "%s: %v, %v", s, wantErr, err)
			require.Equal(t, len(wantStrict), len(strict), s)
			if err == nil {
				require.Equal(t, want, got, s)
			}
			wantLoose, gotLoose := fresh(), fresh()
			wantErr = kjson.UnmarshalCaseSensitivePreserveInts([]byte(s), wantLoose)
			err = q.DecodeLoose([]byte(s), gotLoose)
			require.Equal(t, wantErr == nil, err == nil, "%s: %v, %v", s, wantErr, err)
			if err == nil {
				require.Equal(t, wantLoose, gotLoose, s)
			}
		}
	}
}
