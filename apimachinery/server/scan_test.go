package server

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/storage"
)

// TestScanAgrees holds the scanner against a decoder, on objects that an encoder wrote, with and without space.
func TestScanAgrees(t *testing.T) {
	text := rapid.StringOf(rapid.RuneFrom([]rune(`ab"\{}[]:, é` + "\n\t")))
	labels := rapid.MapOfN(text, text, 0, 4)
	s := newScanner([]string{"spec.host", "spec.count", "spec.on", "status.deep.er", "metadata.creationTimestamp", "top"}, &interner{})
	rapid.Check(t, func(t *rapid.T) {
		meta := map[string]any{"name": text.Draw(t, "name"), "labels": labels.Draw(t, "labels"), "creationTimestamp": "2024-01-01T00:00:00Z"}
		if rapid.Bool().Draw(t, "uid") {
			meta["uid"] = text.Draw(t, "uid")
		}
		if rapid.Bool().Draw(t, "managed") {
			meta["managedFields"] = []any{map[string]any{"fieldsV1": map[string]any{"f:a": map[string]any{}}}}
		}
		o := map[string]any{
			"kind": "K", "apiVersion": "g/v1", "metadata": meta, "top": text.Draw(t, "top"),
			"spec":   map[string]any{"host": text.Draw(t, "host"), "count": rapid.Int().Draw(t, "count"), "on": rapid.Bool().Draw(t, "on"), "other": []any{map[string]any{"host": "no"}, nil, 1.5}},
			"status": map[string]any{"deep": map[string]any{"er": rapid.SampledFrom([]any{nil, "x", []any{"x"}, map[string]any{}}).Draw(t, "er")}},
		}
		raw, err := json.Marshal(o)
		require.NoError(t, err)
		if rapid.Bool().Draw(t, "indent") {
			raw, err = json.MarshalIndent(o, "", "\t")
			require.NoError(t, err)
		}
		got, err := s.scan(raw)
		require.NoError(t, err)
		require.Equal(t, "K", string(got.kind))
		require.Equal(t, "g/v1", string(got.apiVersion))
		uid, _ := meta["uid"].(string)
		require.Equal(t, uid, got.uid)
		want := []storage.Pair(nil)
		for _, k := range slices.Sorted(maps.Keys(meta["labels"].(map[string]string))) {
			want = append(want, storage.Pair{Key: k, Value: meta["labels"].(map[string]string)[k]})
		}
		require.Equal(t, want, got.labels)
		spec := o["spec"].(map[string]any)
		er, _ := o["status"].(map[string]any)["deep"].(map[string]any)["er"].(string)
		require.Equal(t, []string{
			spec["host"].(string), fmt.Sprint(spec["count"]), fmt.Sprint(spec["on"]), er, "2024-01-01T00:00:00Z", o["top"].(string),
		}, got.values)

		served := form{raw, got.revAt()}.appendTo(nil, 7)
		var back metav1.PartialObjectMetadata
		require.NoError(t, json.Unmarshal(served, &back), string(served))
		require.Equal(t, "7", back.ResourceVersion)
		require.Equal(t, meta["name"], back.Name)
		require.Equal(t, raw, form{raw, got.revAt()}.appendTo(nil, 0))
	})
}

func TestScanRefuses(t *testing.T) {
	s := newScanner(nil, &interner{})
	for _, raw := range []string{
		``, `{`, `[]`, `{}`, `{"metadata"}`, `{"metadata":{}`, `{"metadata":{"uid":1}}`, `{"metadata":{"labels":{"a":1}}}`, `{"metadata":{"labels":[]}}`,
		`{"kind":7,"metadata":{}}`, `{"metadata":{"uid":"x}}`, `{"metadata":{}} x"`[:10], `{"metadata":{"a":}}`, `{"metadata":{"a":1 "b":2}}`,
		`{"metadata":` + strings.Repeat(`{"labels":`, 20_000),
	} {
		_, err := s.scan([]byte(raw))
		require.Error(t, err, "%.60s", raw)
	}
	_, err := s.scan([]byte(`{"metadata":{}}`))
	require.NoError(t, err)
}

// FuzzScan looks for input that breaks the scanner.
func FuzzScan(f *testing.F) {
	f.Add([]byte(`{"kind":"K","apiVersion":"v1","metadata":{"name":"a","uid":"b","labels":{"c":"d"}},"spec":{"host":"e"}}`))
	s := newScanner([]string{"spec.host"}, &interner{})
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, err := s.scan(raw)
		if err != nil || !json.Valid(raw) {
			return
		}
		if at := got.revAt(); at < 1 || at > len(raw) {
			t.Fatalf("resourceVersion would go to %d of %d", at, len(raw))
		}
	})
}

func TestTokens(t *testing.T) {
	want := token{Version: tokenVersion, Rev: 7, Start: "default/a\x00"}
	got, err := parseToken(want.String())
	require.NoError(t, err)
	require.Equal(t, want, got)
	for _, bad := range []string{"", "!", "e30", token{Rev: 0, Start: "x"}.String(), token{Rev: 1}.String()} {
		_, err := parseToken(bad)
		require.Error(t, err, bad)
	}
}

func TestInternerForgets(t *testing.T) {
	in := &interner{}
	for i := range 3 * internShards * internMost {
		require.Equal(t, fmt.Sprint(i), in.get([]byte(fmt.Sprint(i))))
	}
	for i := range in.shards {
		require.LessOrEqual(t, len(in.shards[i].seen), internMost)
	}
	long := strings.Repeat("x", 2*internLong)
	require.Equal(t, long, in.get([]byte(long)))
}

var _ apimachinery.Doer = door{}
