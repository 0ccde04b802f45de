package structural_test

import (
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/applyconfigurations"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/structured-merge-diff/v6/schema"

	"github.com/bedplate/bedplate/apimachinery/structural"
)

// Every kind of k8s.io/api has the same shape as in the schema that Kubernetes generates from its comments.
func TestEqualsTheGeneratedSchema(t *testing.T) {
	converter := applyconfigurations.NewTypeConverter(scheme.Scheme)
	var types structural.Types
	c := comparison{t: t, seen: map[string]bool{}}
	kinds := 0
	for gvk := range scheme.Scheme.AllKnownTypes() {
		obj, err := scheme.Scheme.New(gvk)
		if err != nil || gvk.Version == runtime.APIVersionInternal {
			continue
		}
		obj.GetObjectKind().SetGroupVersionKind(gvk)
		typed, err := converter.ObjectToTyped(obj)
		if err != nil {
			continue // not a kind that can be applied
		}
		kinds++
		c.schema = typed.Schema()
		st, err := types.Of(obj)
		require.NoError(t, err)
		c.compare(gvk.String(), st, typed.TypeRef())
	}
	require.Greater(t, kinds, 100)
	require.Greater(t, len(c.seen), 800)
}

type comparison struct {
	t      *testing.T
	schema *schema.Schema
	seen   map[string]bool
}

func (c *comparison) compare(path string, t *structural.Type, ref schema.TypeRef) {
	atom, ok := c.schema.Resolve(ref)
	require.True(c.t, ok, path)
	atomic := func(r schema.ElementRelationship) { require.Equal(c.t, r == schema.Atomic, t.Atomic(), path) }
	switch t.Kind() {
	case structural.Any:
		require.NotNil(c.t, atom.Scalar, path)
		require.NotNil(c.t, atom.List, path)
		atomic(atom.Map.ElementRelationship)
	case structural.Scalar:
		want := map[structural.ScalarKind]schema.Scalar{structural.AnyScalar: schema.Untyped,
			structural.String: schema.String, structural.Number: schema.Numeric, structural.Boolean: schema.Boolean}
		require.Equal(c.t, want[t.Scalar()], *atom.Scalar, path)
	case structural.List:
		c.list(path, t, atom.List)
	case structural.Map:
		require.Empty(c.t, atom.Map.Fields, path)
		atomic(atom.Map.ElementRelationship)
		c.compare(path+"{}", t.Elem(), atom.Map.ElementType)
	case structural.Struct:
		atomic(atom.Map.ElementRelationship)
		if c.seen[t.Name()] {
			return
		}
		c.seen[t.Name()] = true
		require.Equal(c.t, *ref.NamedType, t.Name(), path)
		require.Len(c.t, t.Fields(), len(atom.Map.Fields), path)
		for _, f := range t.Fields() {
			sf, ok := atom.Map.FindField(f.Name)
			require.True(c.t, ok, path+"."+f.Name)
			c.compare(path+"."+f.Name, f.Type, sf.Type)
		}
	}
}

func (c *comparison) list(path string, t *structural.Type, list *schema.List) {
	associative := list.ElementRelationship == schema.Associative
	require.Equal(c.t, associative, t.List() != structural.AtomicList, path)
	require.Equal(c.t, associative && len(list.Keys) == 0, t.List() == structural.SetList, path)
	require.Equal(c.t, list.Keys, t.KeyNames(), path)
	item, _ := c.schema.Resolve(list.ElementType)
	for _, k := range t.Keys() {
		def, _ := item.Map.FindField(k.Name)
		want := ""
		if def.Default != nil {
			want = fmt.Sprintf("%v", def.Default)
			if s, ok := def.Default.(string); ok {
				want = fmt.Sprintf("%q", s)
			}
		}
		require.Equal(c.t, want, k.Default, path+"["+k.Name+"]")
	}
	c.compare(path+"[]", t.Elem(), list.ElementType)
}

type embedded struct {
	Common string `json:"common"`
}

func (embedded) SwaggerDoc() map[string]string { return map[string]string{"": "doc of embedded"} }

type spec struct {
	embedded   `json:",inline"`
	Replicas   *int32                         `json:"replicas,omitempty"`
	Ratio      float64                        `json:"ratio,omitempty"`
	On         bool                           `json:"on"`
	Raw        []byte                         `json:"raw,omitempty"`
	Port       intstr.IntOrString             `json:"port,omitempty"`
	At         metav1.Time                    `json:"at,omitempty"`
	Every      metav1.Duration                `json:"every,omitempty"`
	Extra      runtime.RawExtension           `json:"extra,omitempty"`
	Whatever   any                            `json:"whatever,omitempty"`
	Args       []string                       `json:"args,omitempty"`
	Env        []corev1.EnvVar                `json:"env,omitempty" patchStrategy:"merge" patchMergeKey:"name"`
	Labels     map[string]string              `json:"labels,omitempty"`
	Template   *corev1.PodTemplateSpec        `json:"template,omitempty"`
	Conditions []metav1.Condition             `json:"conditions,omitempty"`
	Children   []spec                         `json:"children,omitempty"`
	ByName     map[string][]map[string]uint16 `json:"byName,omitempty"`
	Ignored    string                         `json:"-"`
	NoTag      string
	private    string
}

type database struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              spec `json:"spec,omitempty"`
}

func TestOfUsersTypes(t *testing.T) {
	_ = spec{private: ""}
	st, err := structural.Of(&database{})
	require.NoError(t, err)
	require.Equal(t, []string{"kind", "apiVersion", "metadata", "spec"}, names(st))
	require.Equal(t, "com.github.bedplate.bedplate.apimachinery.structural_test.database", st.Name())
	require.Equal(t, "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta", st.Field("metadata").Type.Name())
	require.NotEmpty(t, st.Field("metadata").Type.Field("labels").Doc())

	s := st.Field("spec").Type
	require.Empty(t, s.Doc(), "the description of an embedded struct is not one's own")
	for name, want := range map[string]struct {
		kind     structural.Kind
		scalar   structural.ScalarKind
		format   string
		required bool
	}{
		"common":     {structural.Scalar, structural.String, "", true},
		"replicas":   {structural.Scalar, structural.Number, "int32", false},
		"ratio":      {structural.Scalar, structural.Number, "double", false},
		"on":         {structural.Scalar, structural.Boolean, "", true},
		"raw":        {structural.Scalar, structural.String, "byte", false},
		"port":       {structural.Scalar, structural.AnyScalar, "int-or-string", false},
		"at":         {structural.Scalar, structural.AnyScalar, "date-time", false},
		"every":      {structural.Scalar, structural.String, "", false},
		"extra":      {structural.Map, 0, "", false},
		"whatever":   {structural.Any, 0, "", false},
		"args":       {structural.List, 0, "", false},
		"env":        {structural.List, 0, "", false},
		"labels":     {structural.Map, 0, "", false},
		"template":   {structural.Struct, 0, "", false},
		"conditions": {structural.List, 0, "", false},
		"children":   {structural.List, 0, "", false},
		"byName":     {structural.Map, 0, "", false},
		"NoTag":      {structural.Scalar, structural.String, "", true},
	} {
		f := s.Field(name)
		require.NotNil(t, f, name)
		require.Same(t, f, s.FieldBytes([]byte(name)))
		require.Equal(t, want.kind, f.Type.Kind(), name)
		require.Equal(t, want.scalar, f.Type.Scalar(), name)
		require.Equal(t, want.format, f.Type.Format(), name)
		require.Equal(t, want.required, f.Required, name)
	}
	require.Nil(t, s.Field("Ignored"))
	require.Nil(t, s.Field("private"))
	env := s.Field("env")
	require.Equal(t, structural.MapList, env.Type.List())
	require.Equal(t, []structural.Key{{Name: "name", Default: `""`}}, env.Type.Keys())
	require.Equal(t, []string{"merge"}, env.PatchStrategy)
	require.Equal(t, structural.AtomicList, s.Field("conditions").Type.List())
	require.Equal(t, "spec", s.Field("children").Type.Elem().GoType().Name())
	require.Len(t, s.Field("children").Type.Elem().Fields(), len(s.Fields()))
}

func names(t *structural.Type) (out []string) {
	for _, f := range t.Fields() {
		out = append(out, f.Name)
	}
	return out
}

func TestOfRefuses(t *testing.T) {
	for _, sample := range []any{nil, 3, "x", []string{}, metav1.Time{}, runtime.RawExtension{}} {
		_, err := structural.Of(sample)
		require.Error(t, err, "%T", sample)
	}
}

func TestZeroAndDerived(t *testing.T) {
	st, err := structural.Of(corev1.Pod{})
	require.NoError(t, err)
	zero, err := st.Zero()
	require.NoError(t, err)
	require.JSONEq(t, `{"metadata":{},"spec":{"containers":null},"status":{}}`, string(zero))

	calls := 0
	build := func(*structural.Type) (any, error) { calls++; return calls, nil }
	type key struct{}
	for range 2 {
		v, err := st.Derived(key{}, build)
		require.NoError(t, err)
		require.Equal(t, 1, v)
	}
}

func TestKeysAndFormats(t *testing.T) {
	st, err := structural.Of(&corev1.Pod{})
	require.NoError(t, err)
	ports := st.Field("spec").Type.Field("containers").Type.Elem().Field("ports").Type
	require.Equal(t, []string{"containerPort", "protocol"}, ports.KeyNames())
	require.Equal(t, []structural.Key{{"containerPort", "0"}, {"protocol", `"TCP"`}}, ports.Keys())
	limits := st.Field("spec").Type.Field("resources").Type.Field("limits").Type
	require.Equal(t, "quantity", limits.Elem().Format())
	require.True(t, slices.Contains(st.Field("spec").Type.Field("volumes").PatchStrategy, "retainKeys"))
	require.Equal(t, reflect.TypeFor[corev1.Pod](), st.GoType())
}

// The whole of a pod's schema, as a first apply needs it.
func BenchmarkPod(b *testing.B) {
	for b.Loop() {
		st, err := structural.Of(&corev1.Pod{})
		if err != nil {
			b.Fatal(err)
		}
		expand(st, map[string]bool{})
	}
}

// What a create of a simple deployment touches.
func BenchmarkOf(b *testing.B) {
	for b.Loop() {
		st, err := structural.Of(&appsv1.Deployment{})
		if err != nil {
			b.Fatal(err)
		}
		st.Field("spec").Type.Field("template").Type.Field("spec").Type.Field("containers")
	}
}

func expand(t *structural.Type, seen map[string]bool) {
	if t.Elem() != nil {
		expand(t.Elem(), seen)
	}
	if t.Kind() != structural.Struct || seen[t.Name()] {
		return
	}
	seen[t.Name()] = true
	for _, f := range t.Fields() {
		expand(f.Type, seen)
	}
}
