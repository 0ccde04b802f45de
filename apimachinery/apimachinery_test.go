package apimachinery

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

type boxSpec struct {
	Size  resource.Quantity `json:"size"`
	Until *metav1.Time      `json:"until,omitempty"`
	Tags  map[string][]string
	Any   any
	Next  *boxSpec
}

type boxStatus struct{ Seen time.Time }

type box = Typed[boxSpec, boxStatus]

func kind(k string) schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: k}
}

func TestTypedCopyIsDeep(t *testing.T) {
	now := metav1.Now()
	b := &box{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"a": "b"}},
		Spec: boxSpec{
			Size: resource.MustParse("100000000000000000000"), Until: &now, Tags: map[string][]string{"x": {"y"}},
			Any: map[string]any{"k": []any{1}}, Next: &boxSpec{Tags: map[string][]string{"p": {"q"}}},
		},
		Status: boxStatus{Seen: now.Time},
	}
	c := b.DeepCopy()
	require.Equal(t, b, c)
	c.Labels["a"], c.Spec.Tags["x"][0], c.Spec.Next.Tags["p"][0] = "!", "!", "!"
	c.Spec.Any.(map[string]any)["k"].([]any)[0] = 2
	c.Spec.Size.Add(resource.MustParse("1"))
	*c.Spec.Until = metav1.Time{}
	require.Equal(t, "b", b.Labels["a"])
	require.Equal(t, "y", b.Spec.Tags["x"][0])
	require.Equal(t, "q", b.Spec.Next.Tags["p"][0])
	require.Equal(t, 1, b.Spec.Any.(map[string]any)["k"].([]any)[0])
	require.Equal(t, "100E", b.Spec.Size.String())
	require.False(t, b.Spec.Until.IsZero())
}

func TestDefine(t *testing.T) {
	res := Define[boxSpec, boxStatus](kind("Box"), "boxes")
	b := &box{Status: boxStatus{Seen: time.Now()}}
	res.Prepare(t.Context(), b, nil)
	require.EqualValues(t, 1, b.Generation)
	require.Zero(t, b.Status)

	n := b.DeepCopy()
	n.Spec.Tags, n.Status.Seen = map[string][]string{"a": nil}, time.Now()
	res.Prepare(t.Context(), n, b)
	require.EqualValues(t, 2, n.Generation)
	require.Zero(t, n.Status)

	s := n.DeepCopy()
	s.Spec.Tags, s.Labels, s.Status.Seen = nil, map[string]string{"a": "b"}, time.Now()
	res.Subs["status"].Strategy.Prepare(t.Context(), s, n)
	require.Equal(t, n.Spec, s.Spec)
	require.Empty(t, s.Labels)
	require.NotZero(t, s.Status)
}

type embeds struct{ box }

func TestRegistryRefuses(t *testing.T) {
	good := Define[boxSpec, boxStatus](kind("Box"), "boxes")
	change := func(f func(*Resource)) Resource {
		r := good
		r.Views = []View{good.Views[0]}
		f(&r)
		return r
	}
	for name, c := range map[string]struct {
		res  []Resource
		want string
	}{
		"no view":     {[]Resource{change(func(r *Resource) { r.Views = nil })}, "no view"},
		"no name":     {[]Resource{change(func(r *Resource) { r.Name.Resource = "" })}, "no name"},
		"embedded":    {[]Resource{change(func(r *Resource) { r.New = func() Object { return &embeds{} } })}, "declare an alias"},
		"one type":    {[]Resource{good, Define[boxSpec, boxStatus](kind("Crate"), "crates")}, "one type can't be two resources"},
		"plural":      {[]Resource{good, change(func(r *Resource) { r.Name.Resource, r.New = "x", func() Object { return &corev1.Pod{} } })}, "is served by"},
		"half a view": {[]Resource{change(func(r *Resource) { r.Views[0].New = r.New })}, "go together"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := NewRegistry(c.res...)
			require.ErrorContains(t, err, c.want)
			require.Empty(t, r.All(), "all or none")
		})
	}
}

func TestRegistryChanges(t *testing.T) {
	r := &Registry{}
	version, changed := r.Version()
	require.NoError(t, r.Add(Define[boxSpec, boxStatus](kind("Box"), "boxes")))
	<-changed
	next, _ := r.Version()
	require.Greater(t, next, version)

	f, ok := r.ForType(&box{})
	require.True(t, ok)
	require.True(t, f.Hub())
	require.Equal(t, "box", f.View.Singular)
	_, ok = r.ForKind(kind("Box"))
	require.True(t, ok)
	_, ok = r.ForResource(f.View.Resource())
	require.True(t, ok)

	r.Remove(f.Resource.Name)
	_, ok = r.ForType(&box{})
	require.False(t, ok)
	require.Empty(t, r.All())
}

func TestDecode(t *testing.T) {
	var m metav1.ObjectMeta
	strict, err := Decode([]byte(`{"name":"a","Name":"b","nmae":"c","name":"d"}`), &m)
	require.NoError(t, err)
	require.Len(t, strict, 3)
	require.Equal(t, "d", m.Name)

	out, strict, err := ToJSON([]byte("a: 1\na: 2\n"), YAML)
	require.NoError(t, err)
	require.Len(t, strict, 1)
	require.JSONEq(t, `{"a":2}`, string(out))
	_, _, err = ToJSON([]byte("a: [1"), YAML)
	require.Error(t, err)

	b, err := Encode(map[string]string{"a": "<&>"})
	require.NoError(t, err)
	require.Equal(t, `{"a":"<&>"}`, string(b))
}
