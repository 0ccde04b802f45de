package roundtrip

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	kjson "k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"

	"github.com/bedplate/bedplate/apimachinery"
)

func same(t testing.TB, want, got any, what string) {
	t.Helper()
	if !apiequality.Semantic.DeepEqual(want, got) {
		a, _ := json.MarshalIndent(want, "", " ")
		b, _ := json.MarshalIndent(got, "", " ")
		require.Fail(t, what, cmp.Diff(strings.Split(string(a), "\n"), strings.Split(string(b), "\n")))
	}
}

// standard is what encoding/json makes of an object.
func standard(t testing.TB, o any) []byte {
	t.Helper()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	require.NoError(t, e.Encode(o))
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// TestJSON: JSON is written byte for byte as encoding/json does, and read as k8s.io/apimachinery does, strictly and
// not, with nothing to complain of.
func TestJSON(t *testing.T) {
	scheme := newScheme(t)
	fill, quick := newFiller(scheme, pinned(t)), apimachinery.NewQuickDecoder()
	theirs := kjson.NewSerializerWithOptions(kjson.DefaultMetaFactory, scheme, scheme, kjson.SerializerOptions{Strict: true})
	each(t, newRegistry(t), func(t *testing.T, f apimachinery.Found) {
		for range *objects {
			o := filled(fill, f)
			raw, err := apimachinery.Encode(o)
			require.NoError(t, err)
			require.Equal(t, string(standard(t, o)), string(raw))

			want, _, err := theirs.Decode(raw, nil, nil)
			require.NoError(t, err)
			same(t, o, want, "their own round trip, which the filling must survive")
			for name, decode := range map[string]func([]byte, any) ([]error, error){"plain": apimachinery.Decode, "quick": quick.Decode} {
				got := f.New()
				strict, err := decode(raw, got)
				require.NoError(t, err, name)
				require.Empty(t, strict, name)
				same(t, want, got, name)
				again, err := apimachinery.Encode(got)
				require.NoError(t, err)
				require.Equal(t, string(raw), string(again), name)
			}
		}
	})
}

// TestProtobuf: what either writes the other reads, and JSON says the same of it.
func TestProtobuf(t *testing.T) {
	scheme := newScheme(t)
	fill := newFiller(scheme, pinned(t))
	theirs := protobuf.NewSerializer(scheme, scheme)
	seen := 0
	each(t, newRegistry(t), func(t *testing.T, f apimachinery.Found) {
		if !apimachinery.HasProtobuf(f.New()) {
			return
		}
		seen++
		for range *objects {
			o := filled(fill, f)
			raw, err := apimachinery.EncodeProtobuf(o)
			require.NoError(t, err)
			var want bytes.Buffer
			require.NoError(t, theirs.Encode(o.DeepCopyObject(), &want))
			require.Equal(t, want.Bytes(), raw)
			read, _, err := theirs.Decode(raw, nil, nil)
			require.NoError(t, err)
			read.GetObjectKind().SetGroupVersionKind(f.View.GroupVersionKind)
			same(t, o, read, "theirs of ours")

			asJSON, err := apimachinery.FromProtobuf(want.Bytes(), f.New())
			require.NoError(t, err)
			got := f.New()
			strict, err := apimachinery.Decode(asJSON, got)
			require.NoError(t, err)
			require.Empty(t, strict)
			same(t, o, got, "ours of theirs")
		}
	})
	require.Greater(t, seen, 60)
}

// TestUnknownFields: a field that no type has is named with its path, wherever it stands, by both decoders and in the
// words of k8s.io/apimachinery.
func TestUnknownFields(t *testing.T) {
	scheme := newScheme(t)
	fill, quick := newFiller(scheme, pinned(t)), apimachinery.NewQuickDecoder()
	theirs := kjson.NewSerializerWithOptions(kjson.DefaultMetaFactory, scheme, scheme, kjson.SerializerOptions{Strict: true})
	named := 0
	each(t, newRegistry(t), func(t *testing.T, f apimachinery.Found) {
		for i := range *objects {
			raw, err := apimachinery.Encode(filled(fill, f))
			require.NoError(t, err)
			var tree map[string]any
			require.NoError(t, json.Unmarshal(raw, &tree))
			var found []map[string]any
			collect(tree, &found)
			found[i%len(found)]["unheardOf"] = map[string]any{"a": 1}
			raw, err = json.Marshal(tree)
			require.NoError(t, err)

			_, _, err = theirs.Decode(raw, nil, nil)
			var want []string
			broken := false
			if strict, ok := runtime.AsStrictDecodingError(err); ok {
				for _, e := range strict.Errors() {
					want = append(want, e.Error())
				}
			} else if err != nil {
				broken = true // a map of strings, say, that now has an object in it
			}
			for name, decode := range map[string]func([]byte, any) ([]error, error){"plain": apimachinery.Decode, "quick": quick.Decode} {
				strict, err := decode(raw, f.New())
				require.Equal(t, broken, err != nil, "%s: %v", name, err)
				if broken {
					continue
				}
				var got []string
				for _, e := range strict {
					got = append(got, e.Error())
				}
				require.Equal(t, want, got, name)
				named += len(got)
			}
		}
	})
	require.Greater(t, named, *objects*50)
}

// collect lists every object of a tree, in a fixed order.
func collect(v any, out *[]map[string]any) {
	switch v := v.(type) {
	case map[string]any:
		*out = append(*out, v)
		for _, k := range slices.Sorted(maps.Keys(v)) {
			collect(v[k], out)
		}
	case []any:
		for _, e := range v {
			collect(e, out)
		}
	}
}

// TestHooks: no hook of any kind falls over what nobody in his senses would send, and defaults are filled in once and
// for all.
func TestHooks(t *testing.T) {
	fill := newFiller(newScheme(t), pinned(t))
	each(t, newRegistry(t), func(t *testing.T, f apimachinery.Found) {
		res := f.Resource
		for i := range *objects {
			o, old := filled(fill, f), filled(fill, f)
			if f.View.ToHub != nil {
				a, err := f.View.ToHub(o)
				require.NoError(t, err)
				b, err := f.View.ToHub(old)
				require.NoError(t, err)
				back, err := f.View.FromHub(a)
				require.NoError(t, err)
				require.IsType(t, f.New(), back)
				o, old = a, b
			}
			for _, o := range []apimachinery.Object{o, old} {
				if res.Default == nil {
					break
				}
				res.Default(o)
				once := o.DeepCopyObject()
				res.Default(o)
				same(t, once, o, fmt.Sprint("defaults twice ", i))
			}
			hooks(t, f, o, old)
		}
	})
}

func hooks(t *testing.T, f apimachinery.Found, o, old apimachinery.Object) {
	res, ctx := f.Resource, t.Context()
	fresh := func() apimachinery.Object { return o.DeepCopyObject().(apimachinery.Object) }
	if res.Prepare != nil {
		res.Prepare(ctx, fresh(), nil)
		res.Prepare(ctx, fresh(), old.DeepCopyObject().(apimachinery.Object))
	}
	if res.Validate != nil {
		res.Validate(ctx, fresh(), nil)
		res.Validate(ctx, fresh(), old)
	}
	if res.Warnings != nil {
		res.Warnings(o, nil)
		res.Warnings(o, old)
	}
	if res.Grace != nil {
		res.Grace(fresh(), nil)
	}
	if res.BeginDelete != nil {
		res.BeginDelete(fresh())
	}
	if res.Finalized != nil {
		res.Finalized(o)
	}
	if res.Guards != nil {
		res.Guards(o, nil)
		res.Guards(o, old)
		res.Guards(nil, old)
	}
	if res.Claims != nil {
		if res.Claims.Complete != nil {
			res.Claims.Complete(fresh(), nil)
			res.Claims.Complete(fresh(), old)
		}
		res.Claims.Of(o)
	}
	for _, s := range f.Subs() {
		if s.Strategy != nil {
			if s.Strategy.Prepare != nil {
				s.Strategy.Prepare(ctx, fresh(), old.DeepCopyObject().(apimachinery.Object))
			}
			if s.Strategy.Validate != nil {
				s.Strategy.Validate(ctx, fresh(), old)
			}
		}
		if s.Get != nil {
			_, _ = s.Get(o) // it may have none
		}
	}
	shown := o
	if f.View.FromHub != nil {
		var err error
		shown, err = f.View.FromHub(o)
		require.NoError(t, err)
	}
	for _, c := range f.View.Columns {
		c.Cell(shown)
	}
}
